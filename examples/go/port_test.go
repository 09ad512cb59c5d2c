package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func bus(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	if err := CreateBus(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path, name string) *Port {
	t.Helper()
	p, err := Open(path, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func count(t *testing.T, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestThePlay(t *testing.T) {
	if err := play(filepath.Join(t.TempDir(), "bus")); err != nil {
		t.Fatal(err)
	}
}

// Of 100 ports that wait, each in a goroutine, none keeps a thread; and each of them wakes.
func TestWaitingPortsCostNoThreads(t *testing.T) {
	const ports = 100
	path := bus(t)
	sender := open(t, path, "sender")
	before := count(t, "/proc/self/task")
	heard := make(chan error, ports)
	var listeners []*Port
	for i := 0; i < ports; i++ {
		listeners = append(listeners, open(t, path, fmt.Sprint("listener", i)))
	}
	for i, p := range listeners {
		go func(i int, p *Port) {
			buffer := make([]byte, p.MaxFrame())
			n, err := p.Receive(buffer, time.Minute)
			if err == nil && (n != 60 || buffer[17] != 77) {
				err = fmt.Errorf("listener %d: %d bytes, number %d", i, n, buffer[17])
			}
			heard <- err
		}(i, p)
	}
	time.Sleep(300 * time.Millisecond) // each looks for frames a few times meanwhile
	if more := count(t, "/proc/self/task") - before; more > 20 {
		t.Errorf("%d ports that wait cost %d threads", ports, more)
	}
	if len(heard) != 0 {
		t.Errorf("%d did not wait: %v", len(heard), <-heard)
	}
	all := MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if err := sender.Send(frame(all, sender.MAC(), 77)); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < ports; i++ {
		if err := <-heard; err != nil {
			t.Error(err)
		}
	}
}

func TestATimeoutIsNoEnd(t *testing.T) {
	path := bus(t)
	p, sender := open(t, path, "p"), open(t, path, "sender")
	buffer := make([]byte, p.MaxFrame())
	for _, timeout := range []time.Duration{0, 3 * time.Millisecond, 130 * time.Millisecond} {
		start := time.Now()
		if _, err := p.Receive(buffer, timeout); !errors.Is(err, ErrTimeout) {
			t.Errorf("%v: %v", timeout, err)
		}
		if took := time.Since(start); took < timeout {
			t.Errorf("%v: after %v", timeout, took)
		}
	}
	if err := sender.Send(frame(p.MAC(), sender.MAC(), 5)); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Receive(buffer, time.Minute); n != 60 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestCloseEndsCallsThatWait(t *testing.T) {
	before := count(t, "/proc/self/fd")
	path := bus(t)
	for i := 0; i < 20; i++ {
		p := open(t, path, "p")
		var waiting sync.WaitGroup
		for j := 0; j < 3; j++ {
			waiting.Add(1)
			go func() {
				defer waiting.Done()
				if _, err := p.Receive(make([]byte, 2000), -1); !errors.Is(err, ErrClosed) {
					t.Errorf("Receive: %v", err)
				}
			}()
		}
		time.Sleep(time.Duration(i%4) * time.Millisecond)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		waiting.Wait()
		if err := p.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("the second Close: %v", err)
		}
		if err := p.Send(make([]byte, 60)); !errors.Is(err, ErrClosed) {
			t.Errorf("Send: %v", err)
		}
	}
	if left := count(t, "/proc/self/fd") - before; left > 0 {
		t.Errorf("%d descriptors are left", left)
	}
}

// While another goroutine receives, too.
func TestATimeoutIsKeptBesideAnotherReceive(t *testing.T) {
	p := open(t, bus(t), "p")
	ended := make(chan error, 1)
	go func() {
		_, err := p.Receive(make([]byte, 2000), -1)
		ended <- err
	}()
	for len(p.turn) == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, timeout := range []time.Duration{0, 10 * time.Millisecond} {
		if _, err := p.Receive(make([]byte, 2000), timeout); !errors.Is(err, ErrTimeout) {
			t.Errorf("%v: %v", timeout, err)
		}
	}
	if len(ended) != 0 {
		t.Errorf("the other one has ended: %v", <-ended)
	}
	p.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("the other one: %v", err)
	}
}

func TestAPortThatNobodyUsesIsClosed(t *testing.T) {
	path, before := bus(t), count(t, "/proc/self/fd")
	for i := 0; i < 20; i++ {
		if _, err := Open(path, fmt.Sprint("forgotten", i)); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(time.Minute); count(t, "/proc/self/fd") > before; runtime.GC() {
		if time.Now().After(until) {
			t.Fatalf("%d descriptors, and %d before", count(t, "/proc/self/fd"), before)
		}
		time.Sleep(time.Millisecond)
	}
	open(t, path, "forgotten0")
}

func TestANulIsNotTheEnd(t *testing.T) {
	path := bus(t)
	_, first := Open(path+"\x00x", "p")
	_, second := Open(path, "p\x00x")
	for i, err := range []error{first, second, CreateBus(path + "2\x00"), RemoveBus(path + "\x00x")} {
		if err == nil || !strings.Contains(err.Error(), "NUL") {
			t.Errorf("%d: %v", i, err)
		}
	}
	open(t, path, "p")
}

func TestAnErrorSaysWhatWasTried(t *testing.T) {
	if _, err := Open("/nonexistent/bus", "p"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Open("/nonexistent/bus", "p"); err == nil || !strings.Contains(err.Error(), "/nonexistent/bus") {
		t.Errorf("%v", err)
	}
	path := bus(t)
	p := open(t, path, "p")
	if _, err := Open(path, "p"); err == nil || !strings.Contains(err.Error(), `"p"`) {
		t.Errorf("a name twice: %v", err)
	}
	if err := p.Send(make([]byte, 5)); err == nil || !strings.Contains(err.Error(), "cannot send") {
		t.Errorf("a short frame: %v", err)
	}
	if err := p.Send(nil); err == nil {
		t.Error("an empty frame was sent")
	}
	if _, err := p.Receive(nil, 0); err == nil || errors.Is(err, ErrTimeout) {
		t.Errorf("an empty buffer: %v", err)
	}
}
