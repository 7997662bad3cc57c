package main

import (
	"sync/atomic"
	"time"

	events "github.com/docker/go-events"
)

// tally is what every sink does: it counts. The last sink that has all of its events tells when. The same as tally.rs.
type tally struct {
	each       uint64
	unfinished int64
	ended      chan time.Time
}

// counter is one sink, on cache lines of its own. It gets one event at a time, so it counts without an atomic.
type counter struct {
	events uint64
	tally  *tally
	_      [112]byte
}

func newTally(sinks int) (*tally, []*counter) {
	shared := &tally{ended: make(chan time.Time, 1)}
	counters := make([]*counter, sinks)
	for i := range counters {
		counters[i] = &counter{tally: shared}
	}
	return shared, counters
}

// expect says that from here on every sink will get so many events. To be called while nothing is under way.
func (t *tally) expect(events int, sinks int) {
	atomic.StoreInt64(&t.unfinished, int64(sinks))
	atomic.AddUint64(&t.each, uint64(events))
}

func (t *tally) wait() time.Time {
	return <-t.ended
}

// waitWithin is wait where events may be lost.
func (t *tally) waitWithin(limit time.Duration) time.Time {
	select {
	case ended := <-t.ended:
		return ended
	case <-time.After(limit):
		panic("not every event has arrived")
	}
}

func (c *counter) Write(events.Event) error {
	c.events++
	if c.events == atomic.LoadUint64(&c.tally.each) && atomic.AddInt64(&c.tally.unfinished, -1) == 0 {
		c.tally.ended <- time.Now()
	}
	return nil
}

func (c *counter) Close() error { return nil }

// one is a u64, put into an interface once, so that a write allocates nothing for it.
var one events.Event = uint64(1) << 40

func nanoseconds(took time.Duration, count int) float64 {
	return float64(took.Nanoseconds()) / float64(count)
}

func microseconds(took time.Duration) float64 {
	return float64(took.Nanoseconds()) / 1e3
}
