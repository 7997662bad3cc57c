// What docker/go-events takes for the scenarios of benches/README.md.
//
// The Rust program starts it and asks: each line that it reads is one round, each line that it writes is the figures of that round. It waits
// in between, so that rounds of Go and of Rust alternate. What a question needs is set up when the question
// first comes.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// round measures once.
type round func() []float64

// What can be asked, with the numbers of its arguments.
var questions = map[string]func(args []string) round{
	"throughput": func(args []string) round { return throughput(args[0], number(args[1]), number(args[2])) },
	"paced":      func(args []string) round { return paced(number(args[0]), number(args[1])) },
	"idle":       func(args []string) round { return idle(number(args[0])) },
	"direct":     func(args []string) round { return direct(number(args[0])) },
	"fanout":     func(args []string) round { return fanOut(number(args[0]), number(args[1])) },
	"broadcast":  func(args []string) round { return broadcast(number(args[0]), number(args[1])) },
	"churn":      func(args []string) round { return churn(number(args[0]), args[1] == "1", milliseconds(args[2])) },
	"queues":     func(args []string) round { return queues(number(args[0])) },
	"refusing":   func(args []string) round { return refusing(number(args[0]), milliseconds(args[1])) },
	"backlog":    func(args []string) round { return backlog(number(args[0])) },
	"webhooks": func(args []string) round {
		return webhooks(args[0], number(args[1]), number(args[2]), number(args[3]), 1000*milliseconds(args[4]))
	},
}

func main() {
	ready := map[string]round{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		line := lines.Text()
		measure := ready[line]
		if measure == nil {
			words := strings.Fields(line)
			measure = questions[words[0]](words[1:])
			ready[line] = measure
		}
		answer := make([]string, 0, 6)
		for _, value := range measure() {
			answer = append(answer, strconv.FormatFloat(value, 'f', 4, 64))
		}
		fmt.Println(strings.Join(answer, " "))
	}
}

func number(arg string) int {
	value, err := strconv.Atoi(arg)
	if err != nil {
		panic(err)
	}
	return value
}

func milliseconds(arg string) time.Duration {
	return time.Duration(number(arg)) * time.Millisecond
}
