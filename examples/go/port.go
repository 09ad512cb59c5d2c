// A port of a bus, for Go programs, on the C library (shmif/shmif.h, pkg-config's shmif-c).
//
// A goroutine that waits for a frame costs no thread: the port's descriptor is in the poller of
// Go's runtime, as that of a socket is. Copy this file into your program.

package main

/*
#cgo pkg-config: shmif-c
#include <stdlib.h>
#include <shmif/shmif.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// ErrTimeout says that no frame came in time.
var ErrTimeout = os.ErrDeadlineExceeded

// ErrClosed says that Close has been called, perhaps while the call waited.
var ErrClosed = os.ErrClosed

// MAC is an Ethernet address.
type MAC [6]byte

// Error says that a call of the library failed. Its text says what was tried, on what, and why it
// failed. errors.Is finds its errno, and Go's own error for that, such as os.ErrNotExist.
type Error struct {
	number syscall.Errno
	text   string
}

func (e *Error) Error() string { return e.text }

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.number }

// Port sends and receives frames on a bus. Any number of goroutines may use it at a time, and may
// close it. The garbage collector closes a port that nobody can use any more.
type Port struct {
	calls   sync.RWMutex // calls hold it for reading, Close for writing
	port    *C.shmif_port
	file    *os.File        // a duplicate of the port's descriptor, in the runtime's poller
	ready   syscall.RawConn // of file
	turn    chan struct{}   // one goroutine at a time receives: the one that has put something in
	mac     MAC
	longest int
}

// try calls the C library. Its message belongs to the thread of the call, so the goroutine stays on
// this thread until it has read the message.
func try(call func() C.int) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	result := call()
	if result < 0 {
		return 0, &Error{syscall.Errno(-result), C.GoString(C.shmif_message())}
	}
	return int(result), nil
}

// cText makes a string of C, which the caller frees. It refuses a NUL, at which C would end it.
func cText(text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, &Error{syscall.EINVAL, fmt.Sprintf("%q has a NUL, so it is no path or name", text)}
	}
	return C.CString(text), nil
}

// CreateBus makes a bus with the default size and MTU.
func CreateBus(path string) error {
	text, err := cText(path)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(text))
	_, err = try(func() C.int { return C.shmif_create(text, nil) })
	return err
}

// RemoveBus removes the file. Ports that are attached keep the bus.
func RemoveBus(path string) error {
	text, err := cText(path)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(text))
	_, err = try(func() C.int { return C.shmif_destroy(text, 1) })
	return err
}

// Open attaches a port to the bus, and brings it up.
func Open(path, name string) (*Port, error) {
	bus, err := cText(path)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(bus))
	label, err := cText(name)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(label))
	options := C.struct_shmif_port_options{name: label}
	options.size = C.size_t(unsafe.Sizeof(options))
	p := &Port{turn: make(chan struct{}, 1)}
	if _, err := try(func() C.int { return C.shmif_open(bus, &options, &p.port) }); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		C.shmif_close(p.port)
		return nil, err
	}
	runtime.SetFinalizer(p, (*Port).Close)
	return p, nil
}

func (p *Port) start() error {
	if _, err := try(func() C.int { return C.shmif_up(p.port) }); err != nil {
		return err
	}
	descriptor, err := try(func() C.int { return C.shmif_descriptor(p.port) })
	if err != nil {
		return err
	}
	// The library owns its descriptor, and os.File closes its own: this needs a duplicate.
	copied, _, failed := syscall.Syscall(syscall.SYS_FCNTL, uintptr(descriptor), syscall.F_DUPFD_CLOEXEC, 0)
	if failed != 0 {
		return fmt.Errorf("cannot duplicate the descriptor of a port: %w", failed)
	}
	p.file = os.NewFile(copied, "port")
	if p.ready, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if the poller has not taken it
	}
	if err != nil {
		p.file.Close()
		return fmt.Errorf("cannot wait for a port: %w", err)
	}
	C.shmif_mac(p.port, (*C.uint8_t)(&p.mac[0]))
	p.longest = int(C.shmif_max_frame_bytes(p.port))
	return nil
}

// Close takes the port off the bus. Calls that wait for frames return ErrClosed.
func (p *Port) Close() error {
	if err := p.file.Close(); err != nil {
		return err // ErrClosed: another call of Close came first
	}
	p.calls.Lock()
	defer p.calls.Unlock()
	C.shmif_close(p.port)
	p.port = nil
	runtime.SetFinalizer(p, nil)
	return nil
}

// MAC is the port's address.
func (p *Port) MAC() MAC { return p.mac }

// MaxFrame is the length of the longest frame.
func (p *Port) MaxFrame() int { return p.longest }

// Send sends a frame, destination first, without frame check sequence.
func (p *Port) Send(frame []byte) error {
	p.calls.RLock()
	defer p.calls.RUnlock()
	if p.port == nil {
		return ErrClosed
	}
	if len(frame) == 0 {
		return errors.New("cannot send an empty frame")
	}
	_, err := try(func() C.int {
		return C.shmif_send(p.port, unsafe.Pointer(&frame[0]), C.size_t(len(frame)))
	})
	return err
}

// Receive copies the next frame to buffer, and returns its length; a frame that is longer than
// buffer is cut. It waits for at most the timeout, and then returns ErrTimeout; a timeout below 0 is
// no limit. One goroutine at a time receives: a second one first waits for its turn, within its
// timeout.
func (p *Port) Receive(buffer []byte, timeout time.Duration) (int, error) {
	if len(buffer) == 0 {
		return 0, errors.New("cannot receive into an empty buffer")
	}
	var last time.Time // zero: no limit
	if timeout >= 0 {
		last = time.Now().Add(timeout)
	}
	if !p.takeTurn(timeout) {
		return 0, ErrTimeout
	}
	defer func() { <-p.turn }()
	p.calls.RLock()
	defer p.calls.RUnlock()
	if p.port == nil {
		return 0, ErrClosed
	}
	for {
		n, err := try(func() C.int {
			return C.shmif_receive(p.port, unsafe.Pointer(&buffer[0]), C.size_t(len(buffer)), nil)
		})
		if n > 0 || err != nil {
			return n, err
		}
		if timeout >= 0 && !time.Now().Before(last) {
			return 0, ErrTimeout
		}
		if err := p.sleep(last); err != nil {
			return 0, err
		}
	}
}

// takeTurn waits until no other goroutine receives. Result: false after the timeout.
func (p *Port) takeTurn(timeout time.Duration) bool {
	var late <-chan time.Time // nil: never
	if timeout >= 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case p.turn <- struct{}{}:
		return true
	default:
	}
	select {
	case p.turn <- struct{}{}:
		return true
	case <-late:
		return false
	}
}

// sleep returns when a frame may be there, or at the time `last`. The poller reports only changes of
// the descriptor. So the library's last look for frames, shmif_prepare_wait(), is in a function that
// Read calls after it has cleared what the poller reported before.
func (p *Port) sleep(last time.Time) error {
	if p.file.SetReadDeadline(last) != nil {
		return ErrClosed
	}
	announced := false
	err := p.ready.Read(func(uintptr) bool {
		if announced {
			return true // woken
		}
		announced = true
		var ms C.int
		if C.shmif_prepare_wait(p.port, &ms) == 1 {
			return true
		}
		// The library asks for another look after this time.
		look := time.Now().Add(time.Duration(ms) * time.Millisecond)
		if ms >= 0 && (last.IsZero() || look.Before(last)) {
			p.file.SetReadDeadline(look)
		}
		return false
	})
	if announced {
		C.shmif_finish_wait(p.port)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrClosed
	}
	return nil // Receive looks for a frame, and then at the clock
}
