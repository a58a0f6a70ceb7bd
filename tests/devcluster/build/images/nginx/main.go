// A stand-in for nginx: serves HTTP on port 80, IPv4 and IPv6, and says which pod answers.
//
//	nginx            serve
//	nginx -get URL   print what the URL answers (for kubectl exec: the image has no shell)
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	get := flag.String("get", "", "print what this URL answers, and exit")
	listen := flag.String("listen", ":80", "address and port to serve on")
	flag.Parse()
	if *get != "" {
		fetch(*get)
		return
	}
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	// The first process of a container ends by SIGTERM only if it asks for it.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		log.Printf("%s: ending", <-signals)
		os.Exit(0)
	}()
	log.Printf("%s serves on %s", host, *listen)
	log.Fatal(http.ListenAndServe(*listen, page(host)))
}

func page(host string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		here, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprintf(w, "Welcome to nginx! (a stand-in)\npod: %s\naddress: %s\nclient: %s\n", host, here, r.RemoteAddr)
	}
}

func fetch(url string) {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		log.Fatal(err)
	}
}
