/* write-behind, one key of one shard: accept (wb_put; several in one call of wb_puts are several such steps, one behind the other), read (GET, wb_get, fill), the worker (own, wb_take, the store's transaction, wb_ack). A
   version is EPOCH * epoch + number; of each it is drawn whether it is a document or a deletion. Flags:
   -DCRASH      a worker may die behind the commit, before the ack          -DEVICT  a value, or a lease, may vanish at any moment
   -DROLLBACK   Redis comes back with what it had at an earlier moment, and another fence
   -DNW=n -DNR=n -DNREADS=n   writes, readers, reads of each
   what must not be left out, each in turn:
   -DUNFENCED   a worker flushes though the store has another owner         -DUNSEEN  wb_get does not look into the dirty hash
   -DACKANY     an ack takes away whatever record there is                  -DACKFIRST the ack goes before the commit
   -DNOREVOKE   an accept leaves the lease where it is                      -DSAMEEPOCH after a rollback numbers go on in the old epoch
   -DNOTOMB     a record of an earlier fence is flushed without a look for its deletion
   -DNODROP     the ack of what Redis lost leaves what was cached since
   checks: (1) a read is not older than what was accepted, or read, before it began (v<fl), unless Redis went back meanwhile; (2) the store never goes back (<was);
   (3) a version that is given is above what the store has (e<=);
   (4) at rest nothing waits, the store has the last that was accepted, or better, and what is cached is what the store has */
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
bool deletes[32];                         /* of each version */
/* Redis */
byte fence = 1;
byte dirty = 0, dfence = 0;               /* 0: no record; the fence that it was accepted under */
byte val = NONE, vfence = 0, lease = NONE;
bool entry = false;                       /* the stream has one */
byte sfence = 1, epoch = 1, num = 0;      /* the shard's */
/* the store */
byte row = 0, tomb = 0, owner = 0, given = 1;
/* ghosts */
byte last = 0, seen = 0, alive = NR + 4;  /* + the writer, two workers and fate */
byte was = 0;
#define HIT (val != NONE && vfence == fence)
proctype Writer() {
  byte i = 0, fs, e;
  do
  :: i < NW ->
again:
#ifdef SAMEEPOCH
     atomic { sfence = fence };
#endif
     if
     :: atomic { sfence == fence ->       /* wb_put */
          num++; e = EPOCH * epoch + num;
          assert(!(e <= SHOWN));
          if :: deletes[e] = true :: deletes[e] = false fi;
          dirty = e; dfence = fence; val = e; vfence = fence; entry = true;
#ifndef NOREVOKE
          lease = NONE;
#endif
          last = e; e = 0; i++ }
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
  do
  :: i < NREADS ->
     d_step { fl = MAX(last, seen); tk = id * 8 + i; ff = fence };
retry:
     atomic {                             /* GET; wb_get would find the same */
       if
       :: HIT -> v = val; st = 1
       :: else -> val = NONE;
          if
#ifndef UNSEEN
          :: dirty != 0 && dfence == fence -> v = dirty; val = dirty; vfence = fence; st = 1
          :: dirty != 0 && dfence != fence -> v = dirty; st = 4
          :: dirty == 0 ->
#else
          :: true ->
#endif
             if :: lease == NONE -> lease = tk; st = 2 :: else -> st = 3 fi
          fi
       fi };
     if
     :: st == 1
     :: st == 3 -> (lease == NONE || HIT || dirty != 0); goto retry
     :: st == 4 -> v = MAX(v, SHOWN)      /* of before a rollback: compared with the store */
     :: st == 2 -> v = SHOWN;
        atomic { if :: lease == tk -> lease = NONE; val = v; vfence = fence :: else fi }
     fi;
     d_step {
       if
       :: ff == fence -> assert(!(v < fl)); seen = MAX(seen, v)
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
    if
#ifndef ACKANY
    :: dirty != 0 && dirty != t
#endif
    :: dirty == 0 && t != 0 && val != t ->
#ifndef NODROP
       val = NONE; lease = NONE;
#endif
       entry = false
#ifdef ACKANY
    :: dirty != 0 -> dirty = 0; dfence = 0; entry = false
#else
    :: dirty != 0 && dirty == t -> dirty = 0; dfence = 0; entry = false
#endif
    :: dirty == 0 && (t == 0 || val == t) -> entry = false
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
          if :: deletes[t] -> row = 0; tomb = MAX(tomb, t) :: else -> row = t fi
       fi;
       assert(!(SHOWN < was)); was = SHOWN
    :: else -> t = NONE
    fi }
}
proctype Worker(byte id) {
  byte t; bool verify; byte rounds = 0;
  do
  :: rounds < 2 && entry ->
     owner = id;                          /* taken over, or again */
     atomic { t = dirty; verify = (dfence != fence) };
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
  if :: atomic { val = NONE } :: atomic { lease = NONE } :: skip fi;
#endif
#ifdef ROLLBACK
  byte d, df, s, ep, n; bool en;
  atomic { d = dirty; df = dfence; en = entry; s = sfence; ep = epoch; n = num };
  atomic { dirty = d; dfence = df; entry = en; sfence = s; epoch = ep; num = n; val = NONE; lease = NONE; fence++;
    last = SHOWN; seen = 0; d = 0; df = 0; s = 0; ep = 0; n = 0; en = false };
#endif
  alive--
}
/* Whoever comes when all is over. */
proctype Last(byte id) {
  byte t; bool verify;
  alive == 0;
  do
  :: entry ->
     owner = id;
     atomic { t = dirty; verify = (dfence != fence) };
     flush();
     ack()
  :: else -> break
  od;
  assert(dirty == 0);
  assert(!(SHOWN < last));
  assert(!HIT || val == SHOWN)
}
init {
  atomic {
    byte r = 0;
    run Writer(); run Worker(1); run Worker(2); run Fate(); run Last(3);
    do :: r < NR -> run Reader(r); r++ :: else -> break od
  }
}
