/* write-behind, one key of one shard: accept (wb_put; several in one call of wb_puts are several such steps, one behind the other), read (GET, wb_get, fill), the worker (own, wb_take, the store's transaction, wb_ack). The
   record is the value until the ack, which makes a cached one of it. A version is EPOCH * epoch + number; of each it is drawn whether it is a document or a deletion. Flags:
   -DCRASH      a worker may die behind the commit, before the ack          -DEVICT  what is cached, or a lease, may vanish at any moment
   -DROLLBACK   Redis comes back with what it had at an earlier moment, and another fence
   -DINCR       any change may be an increment (wb_incr) of a document that is always there: whoever wants it folds (wb_sums, wb_fold). Not with ROLLBACK
   -DNW=n -DNR=n -DNREADS=n   writes, readers, reads of each
   what must not be left out, each in turn:
   -DUNFENCED   a worker flushes though the store has another owner         -DUNSEEN  wb_get takes a record of an earlier fence for a cached value of one
   -DACKANY     an ack takes whatever record there is for what was flushed  -DACKFIRST the ack goes before the commit
   -DNOREVOKE   an ack leaves the lease where it is                         -DBLIND  a fill does not look whether a record waits
   -DMORTAL     a record that waits may vanish                              -DSAMEEPOCH after a rollback numbers go on in the old epoch
   -DNOTOMB     a record of an earlier fence is flushed without a look for its deletion
   -DNODROP     the ack of what Redis lost leaves what was cached since
   -DBARE       an increment leaves the value                               -DNOBASE  and does not keep the record that it is to be added to
   -DACKINCR    an ack does not look whether increments wait                -DFOLDANY a fold does not look whether they are those that were read
   checks: (1) a read is not older than what was accepted, or read, before it began (v<fl), unless Redis went back meanwhile; (2) the store never goes back (<was);
   (3) a version that is given is above what the store has (e<=); (4) increments are added to what was there before the first of them (!=under);
   (5) at rest nothing waits, the store has the last that was accepted, or better, and what is cached is what the store has */
#ifndef NW
#define NW 2
#endif
#ifndef NR
#define NR 1
#endif
#ifndef NREADS
#define NREADS 2
#endif
#define NONE 255
#define EPOCH 8
#define MAX(a,b) ((a) > (b) -> (a) : (b))
#define SHOWN (row != 0 -> row : tomb)    /* the version that who asks the store gets */
#ifdef INCR
byte state[16];                           /* what a record is: the version of the change that it is up to date with */
#define STATE(x) state[x]
#else
bool deletes[32];                         /* of each version */
#define STATE(x) x
#endif
/* Redis */
byte fence = 1;
byte val = NONE, vfence = 0, lease = NONE; /* vfence: that which it was accepted, or loaded, under */
bool dirty = false;                       /* the value is a record that waits */
bool entry = false;                       /* the queue has one */
byte sfence = 1, epoch = 1, num = 0;      /* the shard's */
#ifdef INCR
byte newest = 0, first = 0, base = 0;     /* of the increments that wait; 0: there are none. What they are to be added to, if that is not in the store */
#define INCREMENTS (newest != 0)
#else
#define INCREMENTS false
#endif
/* the store */
byte row = 0, tomb = 0, owner = 0, given = 1;
/* ghosts */
byte last = 0, seen = 0, alive = NR + 4;  /* + the writer, two workers and fate */
byte was = 0, under = 0;
#define HIT (val != NONE && vfence == fence)
#define VERSION(e) num++; e = EPOCH * epoch + num; assert(!(e <= SHOWN))

inline put() {                            /* wb_put */
  VERSION(e);
#ifdef INCR
  state[e] = e; newest = 0; first = 0; base = 0;
#else
  if :: deletes[e] = true :: deletes[e] = false fi;
#endif
  val = e; vfence = fence; dirty = true; entry = true;
  last = e; e = 0; i++
}
#ifdef INCR
inline increment() {                      /* wb_incr */
  VERSION(e);
  if
  :: newest == 0 ->
     first = e; under = last; entry = true;
#ifndef NOBASE
     if :: dirty -> base = val :: else fi;
#endif
#ifndef BARE
     val = NONE; dirty = false;
#endif
     lease = NONE
  :: else
  fi;
  newest = e;
  last = e; e = 0; i++
}
/* f: the record that comes of it; 0: others were faster. */
inline fold() {
  atomic { n = newest; id1 = first; f = base }                        /* wb_sums */
  if
  :: n == 0 -> f = 0
  :: n != 0 ->
     if :: f == 0 -> f = SHOWN :: else fi;
     atomic {                             /* wb_fold */
       if
#ifdef FOLDANY
       :: newest == 0 -> f = 0
       :: newest != 0 ->
#else
       :: first != id1 -> f = 0
       :: first == id1 ->
#endif
          assert(!(STATE(f) != under));
          if
          :: newest == n -> VERSION(f); state[f] = n; newest = 0; first = 0; base = 0; val = f; vfence = fence; dirty = true
          :: else -> f = n; state[f] = n; base = f; under = n; first = newest   /* below what is left */
          fi
       fi };
     n = 0; id1 = 0
  fi
}
#endif
proctype Writer() {
  byte i = 0, fs, e;
  do
  :: i < NW ->
again:
#ifdef SAMEEPOCH
     atomic { sfence = fence };
#endif
     if
     :: atomic { sfence == fence -> put() }
#ifdef INCR
     :: atomic { sfence == fence -> increment() }
#endif
     :: atomic { sfence != fence -> fs = fence };
        atomic { given++; e = given };    /* the store's */
        atomic { if :: fs == fence -> sfence = fence; epoch = e; num = 0 :: else fi; e = 0; fs = 0 };
        goto again
     fi
  :: else -> break
  od;
  alive--
}
proctype Reader(byte id) {
  byte fl, v, st, i = 0, tk, ff;
#ifdef INCR
  byte f, n, id1;
#endif
  do
  :: i < NREADS ->
     d_step { fl = MAX(last, seen); tk = id * 8 + i; ff = fence };
retry:
     atomic {                             /* GET; wb_get would find the same */
       if
       :: HIT -> v = val; st = 1
#ifndef UNSEEN
       :: !HIT && dirty -> v = val; st = 4
       :: !HIT && !dirty -> val = NONE;
#else
       :: !HIT -> val = NONE; dirty = false;
#endif
          if
          :: INCREMENTS -> st = 5
          :: else -> if :: lease == NONE -> lease = tk; st = 2 :: else -> st = 3 fi
          fi
       fi };
     if
     :: st == 1
     :: st == 3 -> (lease == NONE || HIT || dirty || INCREMENTS); goto retry
     :: st == 4 -> v = MAX(v, SHOWN)      /* of before a rollback: compared with the store */
     :: st == 2 -> v = SHOWN;
        atomic {                          /* wb_fill */
          if
          :: lease == tk -> lease = NONE;
#ifndef BLIND
             if :: !dirty && !INCREMENTS -> val = v; vfence = fence :: else fi
#else
             val = v; vfence = fence; dirty = false
#endif
          :: else
          fi }
#ifdef INCR
     :: st == 5 -> fold(); if :: f == 0 -> goto retry :: else -> v = f; f = 0 fi
#endif
     fi;
     d_step {
       if
       :: ff == fence -> v = STATE(v); assert(!(v < fl)); seen = MAX(seen, v)
       :: else                            /* what was accepted when it began may be lost */
       fi;
       v = 0; st = 0; fl = 0; tk = 0; ff = 0 };
     i++
  :: else -> break
  od;
  alive--
}
inline ack() {                            /* wb_ack */
  atomic {
#ifndef NOREVOKE
    lease = NONE;
#endif
    if
#ifdef ACKANY
    :: dirty -> dirty = false; entry = false
#else
    :: dirty && val != t                  /* it waits on */
    :: dirty && val == t -> dirty = false; entry = false
#endif
#ifndef ACKINCR
    :: !dirty && INCREMENTS               /* they do */
    :: !dirty && !INCREMENTS ->
#else
    :: !dirty ->
#endif
#ifndef NODROP
       if :: t != 0 && val != t -> val = NONE :: else fi;
#endif
       entry = false
    fi }
}
inline flush() {                          /* one transaction, in which the fence is written */
  atomic {
    if
#ifdef UNFENCED
    :: true ->
#else
    :: owner == id ->
#endif
       if
       :: t == 0
#ifndef NOTOMB
       :: t != 0 && verify && tomb >= t
#endif
       :: t != 0 && row >= t
#ifdef NOTOMB
       :: t != 0 && row < t ->
#else
       :: t != 0 && row < t && !(verify && tomb >= t) ->
#endif
#ifdef INCR
          row = t
#else
          if :: deletes[t] -> row = 0; tomb = MAX(tomb, t) :: else -> row = t fi
#endif
       fi;
       assert(!(SHOWN < was)); was = SHOWN
    :: else -> t = NONE
    fi }
}
/* What waits, with the increments in it: wb_take and wb_sums, and a fold. */
inline take() {
#ifdef INCR
  do
  :: atomic { newest == 0 -> t = (dirty -> val : 0); break }
  :: newest != 0 -> fold(); if :: f != 0 -> t = f; f = 0; break :: else fi
  od
#else
  atomic { t = (dirty -> val : 0); verify = (t != 0 && vfence != fence) }
#endif
}
proctype Worker(byte id) {
  byte t; bool verify; byte rounds = 0;
#ifdef INCR
  byte f, n, id1;
#endif
  do
  :: rounds < 2 && entry ->
     owner = id;                          /* taken over, or again */
     take();
#ifdef ACKFIRST
     ack();
#endif
     flush();
     if
     :: t == NONE                         /* lost */
     :: t != NONE ->
#ifdef CRASH
        if :: goto dead :: skip fi;
#endif
#ifndef ACKFIRST
        ack()
#else
        skip
#endif
     fi;
     atomic { t = 0; verify = false; rounds++ }
  :: rounds < 2 -> break                  /* nobody is there: the last one does what is left */
  :: else -> break
  od;
#ifdef CRASH
dead:
#endif
  alive--
}
proctype Fate() {
#ifdef EVICT
  if
#ifdef MORTAL
  :: atomic { val = NONE; dirty = false }
#else
  :: atomic { !dirty -> val = NONE }
#endif
  :: atomic { lease = NONE }
  :: skip
  fi;
#endif
#ifdef ROLLBACK
  byte d, df, s, ep, n; bool en;
  atomic { d = (dirty -> val : 0); df = vfence; en = entry; s = sfence; ep = epoch; n = num };
  atomic { dirty = (d != 0); val = (dirty -> d : NONE); vfence = df; entry = en; sfence = s; epoch = ep; num = n; lease = NONE; fence++;
    last = MAX(SHOWN, d); seen = 0; d = 0; df = 0; s = 0; ep = 0; n = 0; en = false };
#endif
  alive--
}
/* Whoever comes when all is over. */
proctype Last(byte id) {
  byte t; bool verify;
#ifdef INCR
  byte f, n, id1;
#endif
  alive == 0;
  do
  :: entry ->
     owner = id;
     take();
     flush();
     ack()
  :: else -> break
  od;
  assert(!dirty && !INCREMENTS);
  assert(!(STATE(SHOWN) < last));
  assert(!HIT || val == SHOWN)
}
init {
  atomic {
    byte r = 0;
    run Writer(); run Worker(1); run Worker(2); run Fate(); run Last(3);
    do :: r < NR -> run Reader(r); r++ :: else -> break od
  }
}
