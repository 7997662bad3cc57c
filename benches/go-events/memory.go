package main

import (
	"errors"
	"io/ioutil"
	"math"
	"runtime"
	"syscall"
	"time"

	events "github.com/docker/go-events"
	"github.com/sirupsen/logrus"
)

// inUse is the heap and the stacks in use after a collection, in bytes.
func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) + float64(stats.StackInuse)
}

// queues is S7: bytes for each idle queue before its first event, and after one.
func queues(count int) round {
	return func() []float64 {
		shared, counters := newTally(count)
		before := inUse()
		all := make([]*events.Queue, count)
		for i, sink := range counters {
			all[i] = events.NewQueue(sink)
		}
		time.Sleep(50 * time.Millisecond)
		fresh := inUse()
		shared.expect(1, count)
		for _, queue := range all {
			queue.Write(one)
		}
		shared.wait()
		time.Sleep(50 * time.Millisecond)
		used := inUse()
		runtime.KeepAlive(all)
		return []float64{(fresh - before) / float64(count), (used - before) / float64(count)}
	}
}

// refuses is a sink that is down.
type refuses struct{}

func (refuses) Write(events.Event) error { return errors.New("down") }
func (refuses) Close() error             { return nil }

// refusing is S7: threads, and percent of a core, with so many endpoints that refuse, each in backoff.
func refusing(count int, length time.Duration) round {
	// It logs whole events at every failure, which would be most of the cost.
	logrus.SetOutput(ioutil.Discard)
	logrus.SetLevel(logrus.PanicLevel)
	return func() []float64 {
		all := make([]*events.Queue, count)
		for i := range all {
			backoff := events.NewExponentialBackoff(events.ExponentialBackoffConfig{
				Base: time.Second, Factor: time.Second, Max: 20 * time.Second,
			})
			all[i] = events.NewQueue(events.NewRetryingSink(refuses{}, backoff))
			all[i].Write(one)
		}
		time.Sleep(5 * time.Second)
		began, before := time.Now(), cpu()
		time.Sleep(length)
		share := float64(cpu()-before) / float64(time.Since(began))
		tasks, err := ioutil.ReadDir("/proc/self/task")
		if err != nil {
			panic(err)
		}
		runtime.KeepAlive(all)
		return []float64{float64(len(tasks)), share * 100}
	}
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// gated is a sink that holds up its first event until the gate is open.
type gated struct {
	*counter
	gate chan struct{}
}

func (g *gated) Write(event events.Event) error {
	<-g.gate
	return g.counter.Write(event)
}

// backlog is S8: bytes for each pending event, and what is still in use after they are delivered, in MiB.
func backlog(count int) round {
	return func() []float64 {
		shared, counters := newTally(1)
		sink := &gated{counter: counters[0], gate: make(chan struct{})}
		queue := events.NewQueue(sink)
		before := inUse()
		shared.expect(count, 1)
		for i := 0; i < count; i++ {
			queue.Write(one)
		}
		full := inUse()
		close(sink.gate)
		shared.wait()
		time.Sleep(50 * time.Millisecond)
		return []float64{(full - before) / float64(count), math.Max(0, inUse()-before) / (1 << 20)}
	}
}
