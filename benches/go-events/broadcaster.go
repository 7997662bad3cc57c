package main

import (
	"sync/atomic"
	"time"

	events "github.com/docker/go-events"
)

// reached is a last sink of a broadcaster: it tells when the event is past all the others.
type reached struct {
	when chan time.Time
}

func (r *reached) Write(events.Event) error {
	r.when <- time.Now()
	return nil
}

func (r *reached) Close() error { return nil }

// idle is S3: µs until a broadcast is in all queues, and until Write returns. Write hands the event to the broadcaster's goroutine.
func idle(receivers int) round {
	shared, counters := newTally(receivers)
	broadcaster := events.NewBroadcaster()
	for _, sink := range counters {
		broadcaster.Add(events.NewQueue(sink))
	}
	last := &reached{when: make(chan time.Time, 1)}
	broadcaster.Add(last)
	return func() []float64 {
		time.Sleep(5 * time.Millisecond)
		shared.expect(1, receivers)
		began := time.Now()
		broadcaster.Write(one)
		returned := time.Since(began)
		inAll := (<-last.when).Sub(began)
		shared.wait()
		return []float64{microseconds(inAll), microseconds(returned)}
	}
}

// direct is S3 without the broadcaster: the writer itself writes to each queue.
func direct(receivers int) round {
	shared, counters := newTally(receivers)
	queues := make([]*events.Queue, receivers)
	for i, sink := range counters {
		queues[i] = events.NewQueue(sink)
	}
	return func() []float64 {
		time.Sleep(5 * time.Millisecond)
		shared.expect(1, receivers)
		began := time.Now()
		for _, queue := range queues {
			queue.Write(one)
		}
		took := time.Since(began)
		shared.wait()
		return []float64{microseconds(took)}
	}
}

// fanOut is S4: ns per event and queue.
func fanOut(receivers int, count int) round {
	shared, counters := newTally(receivers)
	broadcaster := events.NewBroadcaster()
	for _, sink := range counters {
		broadcaster.Add(events.NewQueue(sink))
	}
	return batch(broadcaster, shared, receivers, count, receivers*count)
}

// broadcast is S5: ns per event.
func broadcast(sinks int, count int) round {
	shared, counters := newTally(sinks)
	broadcaster := events.NewBroadcaster()
	for _, sink := range counters {
		broadcaster.Add(sink)
	}
	return batch(broadcaster, shared, sinks, count, count)
}

// batch writes count events at full speed and waits until all sinks have them.
func batch(broadcaster *events.Broadcaster, shared *tally, sinks int, count int, per int) round {
	return func() []float64 {
		shared.expect(count, sinks)
		began := time.Now()
		for i := 0; i < count; i++ {
			broadcaster.Write(one)
		}
		return []float64{nanoseconds(shared.wait().Sub(began), per)}
	}
}

// churn is the other half of S5: µs of a write, while another goroutine adds and removes one sink every millisecond, or does not.
func churn(sinks int, churns bool, length time.Duration) round {
	_, counters := newTally(sinks)
	broadcaster := events.NewBroadcaster()
	for _, sink := range counters {
		broadcaster.Add(sink)
	}
	return func() []float64 {
		var over int32
		ended := make(chan struct{})
		go func() {
			for atomic.LoadInt32(&over) == 0 {
				time.Sleep(time.Millisecond)
				if churns {
					_, extra := newTally(1)
					broadcaster.Add(extra[0])
					broadcaster.Remove(extra[0])
				}
			}
			close(ended)
		}()
		times := make([]float64, 0, 1<<21)
		began := time.Now()
		for before := began; before.Sub(began) < length; {
			broadcaster.Write(one)
			after := time.Now()
			times = append(times, microseconds(after.Sub(before)))
			before = after
		}
		atomic.StoreInt32(&over, 1)
		<-ended
		return quantiles(times, 0.5, 0.99)
	}
}
