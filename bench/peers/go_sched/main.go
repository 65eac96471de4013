// SPDX-License-Identifier: Apache-2.0

// Go's scheduler, for the benches of the same names: peer_go_sched BENCH [PROCS [N]]. Prints one
// line of JSON, as bench/samples.hpp does.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	_ "unsafe"
)

// nanotime is CLOCK_MONOTONIC, which package time does not give out as a number.
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

var line []string

func value(name string, number float64) {
	line = append(line, fmt.Sprintf("%q: %.6g", name, number))
}

// samples reports the median as NAME_ns and the 99th percentile as NAME_p99_ns.
func samples(name string, v []float64) {
	sort.Float64s(v)
	value(name+"_ns", v[(len(v)-1)/2])
	value(name+"_p99_ns", v[(len(v)-1)*99/100])
}

// perOperation returns nanoseconds per operation in each batch, after a few that do not count.
func perOperation(batches, operations int, batch func(n int)) []float64 {
	var v []float64
	for i := -(batches/10 + 1); i < batches; i++ {
		begin := nanotime()
		batch(operations)
		end := nanotime()
		if i >= 0 {
			v = append(v, float64(end-begin)/float64(operations))
		}
	}
	return v
}

func argument(index int) int {
	if index >= len(os.Args) {
		return 0
	}
	n, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return n
}

func main() {
	benches := map[string]func(){
		"yield": yield, "spawn_join": spawnJoin, "chan": channel, "select4": select4, "mutex": mutex,
		"reload": reload,
		"idle_memory": func() { idleMemory(argument(3)) }, "timer": timer, "preempt": preempt,
		"idle": idle, "echo": echo,
	}
	if len(os.Args) < 2 || benches[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peer_go_sched BENCH [PROCS [N]]")
		os.Exit(2)
	}
	if procs := argument(2); procs > 0 {
		runtime.GOMAXPROCS(procs)
	}
	benches[os.Args[1]]()
	fmt.Printf("{%s}\n", strings.Join(line, ", "))
}
