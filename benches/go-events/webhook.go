package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/ioutil"
	"net/http"
	"net/url"
	"time"

	events "github.com/docker/go-events"
)

// push is what S9 delivers. The same as in s9_webhooks.rs.
type push struct {
	Sequence   uint64 `json:"sequence"`
	Timestamp  string `json:"timestamp"`
	Action     string `json:"action"`
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	Digest     string `json:"digest"`
	Size       uint64 `json:"size"`
	Actor      string `json:"actor"`
}

func newPush(sequence uint64) *push {
	return &push{
		Sequence:   sequence,
		Timestamp:  "2026-03-01T12:34:56.789Z",
		Action:     "push",
		Repository: "library/alpine",
		Tag:        "3.20",
		Digest:     "sha256:beefdbd8a1da6d2915566fde36db9db0b524eb737fc57cd1367effd16dc0d06d",
		Size:       3623807,
		Actor:      "ci",
	}
}

// posts is a sink that posts each event as JSON to one URL, and counts what was delivered. It has a client of its own, whose connection is used again since each answer is
// read to its end. URL and headers are made once.
type posts struct {
	*counter
	client *http.Client
	url    *url.URL
	header http.Header
}

func newPosts(address string, timeout time.Duration, counter *counter) *posts {
	parsed, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 100
	transport.DisableCompression = true
	return &posts{
		counter: counter,
		client:  &http.Client{Transport: transport, Timeout: timeout},
		url:     parsed,
		header:  http.Header{"Content-Type": {"application/json"}},
	}
}

func (p *posts) Write(event events.Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	request := &http.Request{
		Method:        http.MethodPost,
		URL:           p.url,
		Header:        p.header,
		Body:          ioutil.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(ioutil.Discard, response.Body)
	response.Body.Close()
	if err != nil {
		return err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return p.counter.Write(event)
}

// webhooks is S9: µs a delivery, and of this process's processor time.
func webhooks(address string, first int, endpoints int, count int, timeout time.Duration) round {
	shared, counters := newTally(endpoints)
	sinks := make([]events.Sink, endpoints)
	for i, counter := range counters {
		sink := newPosts(fmt.Sprintf("%s%d", address, first+i), timeout, counter)
		breaker := events.NewBreaker(5, time.Second)
		sinks[i] = events.NewQueue(events.NewRetryingSink(sink, breaker))
	}
	broadcaster := events.NewBroadcaster(sinks...)
	next := uint64(0)
	return func() []float64 {
		shared.expect(count, endpoints)
		began, before := time.Now(), cpu()
		for i := 0; i < count; i++ {
			broadcaster.Write(newPush(next))
			next++
		}
		took := shared.waitWithin(time.Minute).Sub(began)
		used := cpu() - before
		deliveries := float64(count * endpoints)
		return []float64{microseconds(took) / deliveries, microseconds(used) / deliveries}
	}
}
