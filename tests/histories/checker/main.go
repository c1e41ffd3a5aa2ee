// check FILE...: is each key of these histories linearizable? Porcupine judges; one line of JSON a key.
//
// A file holds lines "S ID NS KEY OP NUMBER", "E ID NS ANSWER [DOCUMENT]" and "R NS" in any order; ../README.md says what they mean. A key
// begins absent. What ends unknown, or not at all (its client was killed), may have happened at any time since, or never.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type call struct{ op, number string }
type answer struct{ word, document string }
type operation struct {
	call
	answer
	key        string
	start, end int64
}

// A document is written "V" or "V/W": who replaced or created it, who updated it last. "" is no document.
func after(state string, c call) string {
	switch c.op {
	case "create":
		if state == "" {
			return c.number
		}
	case "put":
		return c.number
	case "replace":
		if state != "" {
			return c.number
		}
	case "update":
		if state != "" {
			return strings.Split(state, "/")[0] + "/" + c.number
		}
	case "delete", "remove":
		return ""
	}
	return state
}

func step(s, in, out interface{}) (bool, interface{}) {
	state, c, a := s.(string), in.(call), out.(answer)
	next := after(state, c)
	switch a.word {
	case "document": // what a get found, or what is there after a change
		return a.document == next && (c.op != "create" || state == ""), next
	case "done":
		return c.op != "delete" || state != "", next
	case "absent":
		return state == "", state
	case "duplicate":
		return state != "", state
	}
	return true, next // unknown
}

var model = porcupine.Model{
	Init: func() interface{} { return "" },
	Step: step,
	DescribeOperation: func(in, out interface{}) string {
		return fmt.Sprint(in.(call).op, " ", in.(call).number, ": ", out.(answer).word, " ", out.(answer).document)
	},
}

// The operations, and when Redis was killed.
func read(path string) (map[string]*operation, []int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	all, restarts := map[string]*operation{}, []int64{}
	of := func(id string) *operation {
		if all[id] == nil {
			all[id] = &operation{end: math.MaxInt64, answer: answer{word: "unknown"}}
		}
		return all[id]
	}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var ns int64
		words := strings.Fields(lines.Text())
		if len(words) == 2 && words[0] == "R" {
			fmt.Sscan(words[1], &ns)
			restarts = append(restarts, ns)
		}
		if len(words) < 4 {
			continue // a line that its client did not live to write
		}
		fmt.Sscan(words[2], &ns)
		switch one := of(words[1]); {
		case words[0] == "S" && len(words) == 6:
			one.start, one.key, one.call = ns, words[3], call{words[4], words[5]}
		case words[0] == "E" && words[3] != "unknown":
			one.end, one.answer.word = ns, words[3]
			if words[3] == "document" {
				one.document = words[4]
			}
		}
	}
	return all, restarts, nil
}

// A write whose intent Redis lost is promised no more than that nobody is given less once it has returned. Reads that were under way
// together with one are not judged.
func unjudged(all []*operation, restarts []int64) (judged []*operation, count int) {
	for _, one := range all {
		spared := false
		for _, write := range all {
			for _, at := range restarts {
				spared = spared || one.op == "get" && write.op != "get" && write.start <= at && at <= write.end &&
					one.start <= write.end && write.start <= one.end
			}
		}
		if spared {
			count++
		} else {
			judged = append(judged, one)
		}
	}
	return judged, count
}

// What Porcupine is given. Without these four it has to try every open end against everything that follows:
//   - what failed had no effect, says the client: if anybody is given its number, no write is left that explains it;
//   - a read that was not answered says nothing;
//   - a write that may have happened, did so before the first answer ends that shows its number;
//   - and if no answer shows it, a put, replace or update need not have happened: none of them makes a difference to who is not shown it.
func told(all []*operation) (history []porcupine.Operation, unknown int) {
	seen := map[string]int64{}
	for _, one := range all {
		for _, number := range strings.Split(one.document, "/") {
			if end, is := seen[number]; !is || one.end < end {
				seen[number] = one.end
			}
		}
	}
	for _, one := range all {
		end := one.end
		if one.word == "failed" || (one.word == "unknown" && one.op == "get") {
			continue
		}
		if one.word == "unknown" {
			unknown++
			first, is := seen[one.number]
			if is {
				end = first
			} else if one.op == "put" || one.op == "replace" || one.op == "update" {
				continue
			}
		}
		history = append(history, porcupine.Operation{Input: one.call, Call: one.start, Output: one.answer, Return: end})
	}
	return history, unknown
}

func main() {
	say := json.NewEncoder(os.Stdout)
	for _, path := range os.Args[1:] {
		all, restarts, err := read(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		keys := map[string][]*operation{}
		for _, one := range all {
			keys[one.key] = append(keys[one.key], one)
		}
		delete(keys, "")
		names := make([]string, 0, len(keys))
		for key := range keys {
			names = append(names, key)
		}
		sort.Strings(names)
		for _, key := range names {
			began := time.Now()
			judged, spared := unjudged(keys[key], restarts)
			history, unknown := told(judged)
			result, info := porcupine.CheckOperationsVerbose(model, history, time.Minute)
			if result != porcupine.Ok {
				porcupine.VisualizePath(model, info, path+"."+strings.ReplaceAll(key, "/", "-")+".html")
			}
			say.Encode(map[string]interface{}{"file": path, "key": key, "operations": len(keys[key]), "unknown": unknown,
				"unjudged": spared, "result": result, "ms": time.Since(began).Milliseconds()})
		}
	}
}
