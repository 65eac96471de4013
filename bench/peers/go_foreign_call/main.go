// SPDX-License-Identifier: Apache-2.0

// What Go pays to enter and leave C: peer_go_foreign_call. A program of its own, because cgo
// changes how the others start and switch threads.
package main

/*
static void nothing(void) {}
*/
import "C"

import (
	"fmt"
	"sort"
	"time"
)

func main() {
	const operations = 10000
	var v []float64
	for i := -50; i < 500; i++ {
		begin := time.Now()
		for j := 0; j < operations; j++ {
			C.nothing()
		}
		took := time.Since(begin)
		if i >= 0 {
			v = append(v, float64(took)/operations)
		}
	}
	sort.Float64s(v)
	fmt.Printf("{\"call_ns\": %.6g, \"call_p99_ns\": %.6g}\n", v[(len(v)-1)/2], v[(len(v)-1)*99/100])
}
