// Two ports of one bus play ping-pong: one goroutine answers every frame, and another asks, waits
// and verifies. Exit status 0: every answer was right, and the port that nobody sent to had a
// timeout.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

const rounds = 1000

// frame makes one of EtherType 0x88B5 (IEEE 802: local experiments) that carries a number.
func frame(to, from MAC, number uint32) []byte {
	f := make([]byte, 60)
	copy(f, to[:])
	copy(f[6:], from[:])
	binary.BigEndian.PutUint16(f[12:], 0x88b5)
	binary.BigEndian.PutUint32(f[14:], number)
	return f
}

// answer sends each frame back to its sender until the port is closed.
func answer(p *Port, ended chan<- error) {
	buffer := make([]byte, p.MaxFrame())
	for {
		n, err := p.Receive(buffer, -1)
		if err == nil {
			mine := p.MAC()
			copy(buffer, buffer[6:12])
			copy(buffer[6:], mine[:])
			err = p.Send(buffer[:n])
		}
		if err != nil {
			ended <- err
			return
		}
	}
}

func play(path string) error {
	if err := CreateBus(path); err != nil {
		return err
	}
	defer RemoveBus(path)
	rig, err := Open(path, "rig")
	if err != nil {
		return err
	}
	defer rig.Close()
	device, err := Open(path, "device")
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go answer(device, ended)

	buffer := make([]byte, rig.MaxFrame())
	for number := uint32(0); number < rounds; number++ {
		if err := rig.Send(frame(device.MAC(), rig.MAC(), number)); err != nil {
			return err
		}
		n, err := rig.Receive(buffer, 5*time.Second)
		if err != nil {
			return fmt.Errorf("round %d: %w", number, err)
		}
		if !bytes.Equal(buffer[:n], frame(rig.MAC(), device.MAC(), number)) {
			return fmt.Errorf("round %d: a wrong answer", number)
		}
	}
	if _, err := rig.Receive(buffer, 20*time.Millisecond); !errors.Is(err, ErrTimeout) {
		return fmt.Errorf("no timeout: %v", err)
	}
	if err := device.Close(); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		return fmt.Errorf("the device ended for another reason: %w", err)
	}
	fmt.Printf("%d frames answered and verified, then a timeout and a clean end\n", rounds)
	return nil
}

func main() {
	if err := play(fmt.Sprintf("/dev/shm/pingpong.%d", os.Getpid())); err != nil {
		fmt.Fprintln(os.Stderr, "pingpong:", err)
		os.Exit(1)
	}
}
