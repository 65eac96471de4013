// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
)

// memory returns what is resident of this process, and its page tables, in bytes.
func memory() (rss, pageTables float64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for _, text := range strings.Split(string(status), "\n") {
		var kib float64
		if n, _ := fmt.Sscanf(text, "VmRSS: %f", &kib); n == 1 {
			rss = kib * 1024
		}
		if n, _ := fmt.Sscanf(text, "VmPTE: %f", &kib); n == 1 {
			pageTables = kib * 1024
		}
	}
	return rss, pageTables
}

func idleMemory(count int) {
	never := make(chan int)
	runtime.GC()
	rss, pageTables := memory()
	begin := nanotime()
	for i := 0; i < count; i++ {
		go func() { <-never }()
	}
	for runtime.NumGoroutine() < count {
		runtime.Gosched()
	}
	took := nanotime() - begin
	time.Sleep(100 * time.Millisecond)
	rss2, pageTables2 := memory()
	n := float64(count)
	value("rss_bytes", (rss2-rss)/n)
	value("page_table_bytes", (pageTables2-pageTables)/n)
	value("bytes", (rss2-rss+pageTables2-pageTables)/n)
	value("spawn_ns", float64(took)/n)
}

func overshoot(count int, wait time.Duration) []float64 {
	var v []float64
	for i := -5; i < count; i++ {
		begin := nanotime()
		time.Sleep(wait)
		late := nanotime() - begin - int64(wait)
		if i >= 0 {
			v = append(v, float64(late))
		}
	}
	return v
}

func nothing() {}

func timer() {
	samples("late", overshoot(200, 100*time.Microsecond))
	pairs := func() []float64 {
		return perOperation(400, 1000, func(n int) {
			for i := 0; i < n; i++ {
				time.AfterFunc(time.Hour, nothing).Stop()
			}
		})
	}
	samples("pair", pairs())
	const million = 1000000
	wait := func(i int) time.Duration { return time.Hour + time.Duration(i%1000)*time.Millisecond }
	all := make([]*time.Timer, million)
	for i := range all {
		all[i] = time.AfterFunc(wait(i), nothing)
	}
	samples("pending", pairs())
	begin := nanotime()
	for _, t := range all {
		t.Stop()
	}
	for i, t := range all {
		t.Reset(wait(i))
	}
	value("million_ns", float64(nanotime()-begin)/million)
}

var sink uint64

func spin() {
	x := uint64(1)
	for {
		x = x*6364136223846793005 + 1
		if x == 0 {
			sink = x
		}
	}
}

func preempt() {
	go spin()
	samples("late", overshoot(25, 5*time.Millisecond))
}

// idle has a goroutine that waits, and a netpoller with something in it, and does nothing.
func idle() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready 0")
	listener.Accept()
}

func echo() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn)
	}
}

func serve(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			if err != io.EOF {
				fmt.Fprintln(os.Stderr, "peer_go_sched:", err)
			}
			return
		}
		if _, err = conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}
