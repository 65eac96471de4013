// SPDX-License-Identifier: Apache-2.0

// Go's net/http, for the benches of the same names: peer_go_http hello|stop [PROCS]. See
// bench/http.cpp.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	_ "unsafe"
)

// nanotime is CLOCK_MONOTONIC, which package time does not give out as a number.
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

func main() {
	if len(os.Args) > 2 {
		procs, _ := strconv.Atoi(os.Args[2])
		runtime.GOMAXPROCS(procs)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	hold := make(chan struct{})
	var ended int64
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		<-hold
		io.WriteString(w, "hello\n")
		atomic.StoreInt64(&ended, nanotime())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go server.Serve(listener)
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	<-stop
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(hold)
	}()
	server.Shutdown(context.Background())
	drained := nanotime()
	fmt.Println("ended", atomic.LoadInt64(&ended))
	fmt.Println("drained", drained)
}
