// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// yields has `count` goroutines do nothing but yield, of which the first reads the clock. Switches
// are counted, so the result does not depend on whose turn it is. On one P only.
func yields(count int) []float64 {
	const perBatch = 5000
	var v []float64
	switches := 0
	stop := false
	var others sync.WaitGroup
	for i := 1; i < count; i++ {
		others.Add(1)
		go func() {
			for !stop {
				switches++
				runtime.Gosched()
			}
			others.Done()
		}()
	}
	for i := -40; i < 400; i++ {
		first := switches
		begin := nanotime()
		for switches-first < perBatch {
			switches++
			runtime.Gosched()
		}
		took := nanotime() - begin
		if i >= 0 {
			v = append(v, float64(took)/float64(switches-first))
		}
	}
	stop = true
	others.Wait()
	return v
}

func yield() {
	samples("two", yields(2))
	samples("thousand", yields(1000))
}

func spawnJoin() {
	samples("one", perOperation(300, 1000, func(n int) {
		for i := 0; i < n; i++ {
			var wg sync.WaitGroup
			wg.Add(1)
			go func() { wg.Done() }()
			wg.Wait()
		}
	}))
	samples("batch", perOperation(200, 1000, func(n int) {
		var wg sync.WaitGroup
		wg.Add(n)
		for i := 0; i < n; i++ {
			go func() { wg.Done() }()
		}
		wg.Wait()
	}))
}

func channel() {
	there, back := make(chan int), make(chan int)
	go func() {
		for v := range there {
			back <- v
		}
	}()
	samples("round_trip", perOperation(500, 1000, func(n int) {
		for i := 0; i < n; i++ {
			there <- i
			<-back
		}
	}))
	close(there)
	queue := make(chan int, 128)
	go func() {
		for range queue {
		}
	}()
	samples("buffered", perOperation(500, 10000, func(n int) {
		for i := 0; i < n; i++ {
			queue <- i
		}
	}))
}

func select4() {
	a, b, c, d := make(chan int), make(chan int), make(chan int), make(chan int, 1)
	samples("ready", perOperation(400, 5000, func(n int) {
		for i := 0; i < n; i++ {
			d <- i
			select {
			case <-a:
			case <-b:
			case <-c:
			case <-d:
			}
		}
	}))
	e, back := make(chan int), make(chan int)
	go func() {
		for {
			select {
			case v := <-a:
				back <- v
			case v := <-b:
				back <- v
			case v := <-c:
				back <- v
			case v := <-e:
				back <- v
			}
		}
	}()
	four := [4]chan int{a, b, c, e}
	samples("blocking", perOperation(500, 1000, func(n int) {
		for i := 0; i < n; i++ {
			four[i&3] <- i
			<-back
		}
	}))
}

type config struct{ a, b int }

func reload() {
	var current atomic.Value
	current.Store(&config{1, 2})
	var kept int64
	readOften := func(n int) {
		sum := 0
		for i := 0; i < n; i++ {
			now := current.Load().(*config)
			sum += now.a + now.b
		}
		atomic.AddInt64(&kept, int64(sum))
	}
	samples("load", perOperation(300, 200000, readOften))
	samples("together", perOperation(100, 2000000, func(n int) {
		var all sync.WaitGroup
		all.Add(runtime.GOMAXPROCS(0))
		for i := 0; i < runtime.GOMAXPROCS(0); i++ {
			go func() {
				readOften(n)
				all.Done()
			}()
		}
		all.Wait()
	}))
}

func mutex() {
	var m sync.Mutex
	guarded := 0
	lockOften := func(n int) {
		for i := 0; i < n; i++ {
			m.Lock()
			guarded++
			m.Unlock()
		}
	}
	samples("free", perOperation(500, 10000, lockOften))
	samples("contended", perOperation(400, 16000, func(n int) {
		var all sync.WaitGroup
		all.Add(8)
		for i := 0; i < 8; i++ {
			go func() {
				lockOften(n / 8)
				all.Done()
			}()
		}
		all.Wait()
	}))
}
