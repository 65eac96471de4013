// SPDX-License-Identifier: Apache-2.0

// Go: signal.Notify, and a goroutine that receives from the channel. The channel is as deep as
// os/signal's documentation asks for: one for single signals, and the whole count for a flood.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// As in bench/page.hpp.
const (
	pageFd     = 3
	endSignal  = syscall.Signal(64)
	maxSamples = 16384
	pageBytes  = 256 + 8*maxSamples
	floodDepth = 100000

	offsetSentAt   = 0
	offsetReceived = 64
	offsetReady    = 128
	offsetLastAt   = 192
	offsetSamples  = 256
)

// nanotime is CLOCK_MONOTONIC, which package time does not give out as a number.
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: peer_go latency|flood SIGNO; run by bench_sender")
		os.Exit(2)
	}
	latency := os.Args[1] == "latency"
	signo, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	page, err := syscall.Mmap(pageFd, 0, pageBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	word := func(offset int) *int64 { return (*int64)(unsafe.Pointer(&page[offset])) }
	sentAt, received := word(offsetSentAt), word(offsetReceived)

	depth := floodDepth
	if latency {
		depth = 1
	}
	ch := make(chan os.Signal, depth)
	signal.Notify(ch, syscall.Signal(signo), endSignal)
	atomic.StoreInt64(word(offsetReady), 1)

	count := int64(0)
	last := int64(0)
	for s := range ch {
		at := nanotime()
		if s == endSignal {
			break
		}
		if latency && count < maxSamples {
			*word(offsetSamples + 8*int(count)) = at - atomic.LoadInt64(sentAt)
		}
		last = at
		count++
		atomic.StoreInt64(received, count)
	}
	*word(offsetLastAt) = last
}
