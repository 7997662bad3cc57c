package main

import (
	"math"
	"sort"
	"sync"
	"time"

	events "github.com/docker/go-events"
)

// throughput is S1: ns per event from the writers to a counting sink.
func throughput(payload string, writers int, count int) round {
	shared, counters := newTally(1)
	queue := events.NewQueue(counters[0])
	share := count / writers
	event := one
	if payload == "arc256" {
		event = &[256]byte{1}
	}
	return func() []float64 {
		shared.expect(share*writers, 1)
		var ready, done sync.WaitGroup
		start := make(chan struct{})
		ready.Add(writers)
		done.Add(writers)
		for i := 0; i < writers; i++ {
			go func() {
				ready.Done()
				<-start
				for i := 0; i < share; i++ {
					queue.Write(event)
				}
				done.Done()
			}()
		}
		ready.Wait()
		began := time.Now()
		close(start)
		took := shared.wait().Sub(began)
		done.Wait()
		return []float64{nanoseconds(took, share*writers)}
	}
}

// stamped is the sink of S2: it notes how long each event was on its way.
type stamped struct {
	*counter
	delivered []float64
}

func (s *stamped) Write(event events.Event) error {
	s.delivered = append(s.delivered, microseconds(time.Since(*event.(*time.Time))))
	return s.counter.Write(event)
}

// paced is S2: µs of a write, and of a delivery.
func paced(pace int, writes int) round {
	shared, counters := newTally(1)
	sink := &stamped{counter: counters[0]}
	queue := events.NewQueue(sink)
	return func() []float64 {
		sink.delivered = make([]float64, 0, writes)
		stamps := make([]time.Time, writes)
		written := make([]float64, 0, writes)
		shared.expect(writes, 1)
		began := time.Now()
		for i := range stamps {
			due := time.Duration(pace*(i+1)) * time.Microsecond
			for time.Since(began) < due {
			}
			stamps[i] = time.Now()
			queue.Write(&stamps[i])
			written = append(written, microseconds(time.Since(stamps[i])))
		}
		shared.wait()
		return append(quantiles(written, 0.5, 0.99, 0.999), quantiles(sink.delivered, 0.5, 0.99, 0.999)...)
	}
}

func quantiles(values []float64, shares ...float64) []float64 {
	sort.Float64s(values)
	found := make([]float64, 0, len(shares))
	for _, share := range shares {
		found = append(found, values[int(math.Ceil(share*float64(len(values)-1)))])
	}
	return found
}
