// Command cniconvert tells what libcni itself makes of results: how it reads what a plugin
// printed, and how it says the same in another version of the specification.
//
// It reads one JSON object a line and answers each with one:
//
//	{"confVersion": "1.0.0", "printed": {...}, "version": "0.2.0"}
//	{"result": {...}}   or   {"error": "..."}
//
// confVersion is that of the plugin's configuration, version what the result is asked for in.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/version"
)

type question struct {
	ConfVersion string          `json:"confVersion"`
	Printed     json.RawMessage `json:"printed"`
	Version     string          `json:"version"`
}

type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// printed stands in for the process: libcni reads its answer as if a plugin had given it.
type printed struct {
	version.PluginDecoder
	answer []byte
}

func (p printed) ExecPlugin(context.Context, string, []byte, []string) ([]byte, error) {
	return p.answer, nil
}

func (p printed) FindInPath(plugin string, _ []string) (string, error) {
	return plugin, nil
}

func convert(asked question) (converted json.RawMessage, err error) {
	defer func() {
		if fault := recover(); fault != nil { // as on a null among the addresses
			err = fmt.Errorf("libcni panics: %v", fault)
		}
	}()
	conf, err := json.Marshal(map[string]string{"cniVersion": asked.ConfVersion})
	if err != nil {
		return nil, err
	}
	plugin := &printed{answer: asked.Printed}
	read, err := invoke.ExecPluginWithResult(
		context.Background(), "plugin", conf, &invoke.Args{}, plugin)
	if err != nil {
		return nil, err
	}
	made, err := read.GetAsVersion(asked.Version)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := made.PrintTo(&text); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func main() {
	questions := json.NewDecoder(bufio.NewReader(os.Stdin))
	answers := json.NewEncoder(os.Stdout)
	for {
		var asked question
		if err := questions.Decode(&asked); err != nil {
			if errors.Is(err, io.EOF) {
				return
			}
			fmt.Fprintln(os.Stderr, "cniconvert:", err)
			os.Exit(1)
		}
		var told answer
		converted, err := convert(asked)
		if err != nil {
			told.Error = err.Error()
		} else {
			told.Result = converted
		}
		if err := answers.Encode(told); err != nil {
			os.Exit(1)
		}
	}
}
