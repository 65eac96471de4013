// SPDX-License-Identifier: Apache-2.0

// Go's recover: a call with a deferred function that recovers, and a nil dereference that it
// catches. One line of JSON, as bench/guarded_calls.hpp prints.
package main

import (
	"fmt"
	"sort"
	"time"
)

//go:noinline
func doesNothing() {}

//go:noinline
func readsThroughNil() {
	var at *int
	sink = *at
}

var sink int
var function = doesNothing
var faulty = readsThroughNil

//go:noinline
func guarded(f func()) (caught bool) {
	defer func() {
		if recover() != nil {
			caught = true
		}
	}()
	f()
	return
}

func perOperation(batches, operations int, batch func(n int)) []float64 {
	var v []float64
	for i := -(batches/10 + 1); i < batches; i++ {
		begin := time.Now()
		batch(operations)
		if i >= 0 {
			v = append(v, float64(time.Since(begin).Nanoseconds())/float64(operations))
		}
	}
	sort.Float64s(v)
	return v
}

func main() {
	call := perOperation(400, 5000, func(n int) {
		for i := 0; i < n; i++ {
			function()
		}
	})
	under := perOperation(400, 5000, func(n int) {
		for i := 0; i < n; i++ {
			guarded(function)
		}
	})
	caught := perOperation(200, 50, func(n int) {
		for i := 0; i < n; i++ {
			if !guarded(faulty) {
				panic("not caught")
			}
		}
	})
	median := func(v []float64) float64 { return v[(len(v)-1)/2] }
	p99 := func(v []float64) float64 { return v[(len(v)-1)*99/100] }
	fmt.Printf("{\"call_ns\": %.6g, \"guarded_ns\": %.6g, \"guarded_p99_ns\": %.6g, "+
		"\"beyond_ns\": %.6g, \"beyond_p99_ns\": %.6g, \"caught_ns\": %.6g, \"caught_p99_ns\": %.6g}\n",
		median(call), median(under), p99(under), median(under)-median(call), p99(under)-median(call),
		median(caught), p99(caught))
}
