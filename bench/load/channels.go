// Many subscribers to server-sent events in one process, and when the last of them has heard: channels, with its task as
// JSON on standard input, one object a line. No load tool measures the last receipt.
//
//	{"do":"connect","address":"127.0.0.1:8080","path":"/channels/bench","fields":"A: b\r\n","count":1000,"sources":20}
//	{"do":"publish","path":"/channels/bench","fields":"…","events":5,"size":100,"pause_ms":100}
//	{"do":"stall","count":10}	the last so many read no more, through the smallest window
//	{"do":"leave"}		all close at once
//
// Each task is answered with a line of JSON. Sockets are read by one thread with epoll, edge-triggered, into one buffer; the
// clock is read once for each batch of them, so that the client costs as little as it can on the core that is its own.
// Subscribers come from several addresses, 127.0.0.2 and on, since one has 28,232 ports.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"
)

const (
	batch              = 512
	connecting         = 256 // handshakes under way at the same time
	patience           = 30 * time.Second
	bindAddressNoPort  = 24 // IP_BIND_ADDRESS_NO_PORT
	edgeTriggered      = 1 << 31
	smallestWindow     = 2304
	marker             = "outflow-bench-"
	firstSource        = 2
	receiveBufferBytes = 64 << 10
)

type task struct {
	Do      string `json:"do"`
	Address string `json:"address"`
	Path    string `json:"path"`
	Fields  string `json:"fields"`
	Count   int    `json:"count"`
	Sources int    `json:"sources"`
	Events  int    `json:"events"`
	Size    int    `json:"size"`
	PauseMs int    `json:"pause_ms"`
}

type subscriber struct {
	fd      int
	asked   bool
	ready   bool
	stalled bool
	tail    []byte // the end of what came, where an event may have begun
}

type load struct {
	address     *net.TCPAddr
	epoll       int
	subscribers map[int32]*subscriber
	order       []*subscriber
	buffer      []byte
}

func main() {
	l := &load{subscribers: map[int32]*subscriber{}, buffer: make([]byte, receiveBufferBytes)}
	var err error
	if l.epoll, err = syscall.EpollCreate1(0); err != nil {
		fail(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var t task
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			fail(err)
		}
		var result interface{}
		switch t.Do {
		case "connect":
			result, err = l.connect(t)
		case "publish":
			result, err = l.publish(t)
		case "stall":
			result, err = l.stall(t.Count)
		case "leave":
			result, err = l.leave()
		default:
			err = fmt.Errorf("no such task: %q", t.Do)
		}
		if err != nil {
			fail(err)
		}
		text, _ := json.Marshal(result)
		fmt.Println(string(text))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// connect opens further subscribers, and waits until each has the head of its answer.
func (l *load) connect(t task) (interface{}, error) {
	address, err := net.ResolveTCPAddr("tcp4", t.Address)
	if err != nil {
		return nil, err
	}
	l.address = address
	request := []byte("GET " + t.Path + " HTTP/1.1\r\nHost: " + t.Address + "\r\nAccept: text/event-stream\r\n" + t.Fields + "\r\n")
	begun, open, ready := time.Now(), 0, 0
	events := make([]syscall.EpollEvent, batch)
	for ready < t.Count {
		for open < t.Count && open-ready < connecting {
			s, err := l.dial(open%t.Sources + firstSource)
			if err != nil {
				return nil, fmt.Errorf("subscriber %d: %w", open, err)
			}
			l.subscribers[int32(s.fd)] = s
			l.order = append(l.order, s)
			open++
		}
		n, err := wait(l.epoll, events, patience)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, fmt.Errorf("only %d of %d subscribers were answered", ready, t.Count)
		}
		for _, event := range events[:n] {
			s := l.subscribers[event.Fd]
			if s == nil {
				continue
			}
			if !s.asked && event.Events&syscall.EPOLLOUT != 0 {
				if _, err := syscall.Write(s.fd, request); err != nil {
					return nil, fmt.Errorf("asking: %w", err)
				}
				s.asked = true
			}
			for s.asked && !s.ready {
				n, err := syscall.Read(s.fd, l.buffer)
				if err == syscall.EAGAIN {
					break
				}
				if err != nil || n == 0 {
					return nil, fmt.Errorf("subscriber closed after %q: %v", s.tail, err)
				}
				s.tail = append(s.tail, l.buffer[:n]...)
				if bytes.Contains(s.tail, []byte("\r\n\r\n")) {
					if !bytes.HasPrefix(s.tail, []byte("HTTP/1.1 200")) {
						return nil, fmt.Errorf("answered %q", s.tail)
					}
					s.ready, s.tail = true, nil
					ready++
				}
			}
		}
	}
	seconds := time.Since(begun).Seconds()
	return map[string]interface{}{"subscribers": len(l.order), "seconds": seconds}, nil
}

// dial begins a connection from 127.0.0.source.
func (l *load) dial(source int) (*subscriber, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(source)}}); err != nil {
		return nil, err
	}
	to := &syscall.SockaddrInet4{Port: l.address.Port}
	copy(to.Addr[:], l.address.IP.To4())
	if err := syscall.Connect(fd, to); err != nil && err != syscall.EINPROGRESS {
		return nil, err
	}
	interest := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | edgeTriggered, Fd: int32(fd)}
	return &subscriber{fd: fd}, syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &interest)
}

// stall makes the last so many subscribers deaf.
func (l *load) stall(count int) (interface{}, error) {
	for _, s := range l.order[len(l.order)-count:] {
		s.stalled = true
		if err := syscall.SetsockoptInt(s.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallestWindow); err != nil {
			return nil, err
		}
		if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, s.fd, nil); err != nil {
			return nil, err
		}
	}
	return map[string]int{"stalled": count}, nil
}

// publish publishes events one after the other, each when all who read have heard the one before, and tells when they
// heard: counted from before the request is sent.
func (l *load) publish(t task) (interface{}, error) {
	var all, lasts []float64
	readers := 0
	for _, s := range l.order {
		if !s.stalled {
			readers++
		}
	}
	events := make([]syscall.EpollEvent, batch)
	for number := 1; number <= t.Events; number++ {
		body := fmt.Sprintf("%s%d-", marker, time.Now().UnixNano())
		wanted := []byte(body)
		body += strings.Repeat("x", max(0, t.Size-len(body)))
		connection, err := net.DialTimeout("tcp4", t.Address, patience)
		if err != nil {
			return nil, err
		}
		request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", t.Path, t.Address, len(body), t.Fields, body)
		begun := time.Now()
		if _, err := io.WriteString(connection, request); err != nil {
			return nil, err
		}
		heard, latencies := 0, make([]float64, 0, readers)
		for heard < readers {
			n, err := wait(l.epoll, events, patience)
			if err != nil {
				return nil, err
			}
			if n == 0 {
				return nil, fmt.Errorf("event %d was heard by %d of %d", number, heard, readers)
			}
			for _, event := range events[:n] {
				s := l.subscribers[event.Fd]
				if s == nil {
					continue
				}
				got, err := l.listen(s, wanted)
				if err != nil {
					return nil, fmt.Errorf("event %d: %w", number, err)
				}
				if got {
					heard++
					latencies = append(latencies, time.Since(begun).Seconds()*1000)
				}
			}
		}
		lasts = append(lasts, latencies[len(latencies)-1])
		all = append(all, latencies...)
		answer, err := io.ReadAll(connection)
		connection.Close()
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 20")) {
			return nil, fmt.Errorf("publishing was answered %q: %v", answer, err)
		}
		time.Sleep(time.Duration(t.PauseMs) * time.Millisecond)
	}
	sort.Float64s(all)
	return map[string]interface{}{
		"readers": readers, "events": t.Events, "last_ms": median(lasts), "lasts_ms": lasts,
		"p50_ms": all[len(all)/2], "p99_ms": all[len(all)*99/100], "max_ms": all[len(all)-1],
	}, nil
}

// listen reads what has come; true if the wanted event's beginning is in it.
func (l *load) listen(s *subscriber, wanted []byte) (bool, error) {
	found := false
	for {
		n, err := syscall.Read(s.fd, l.buffer)
		if err == syscall.EAGAIN {
			return found, nil
		}
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return false, errors.New("a subscriber was closed")
		}
		// An event may come in two pieces.
		text := l.buffer[:n]
		if len(s.tail) > 0 {
			text = append(s.tail, text...)
		}
		if bytes.Contains(text, wanted) {
			found = true
		}
		keep := len(wanted)
		if len(text) < keep {
			keep = len(text)
		}
		if found {
			keep = 0
		}
		s.tail = append([]byte(nil), text[len(text)-keep:]...)
		if n < len(l.buffer) {
			return found, nil
		}
	}
}

func (l *load) leave() (interface{}, error) {
	for _, s := range l.order {
		syscall.Close(s.fd)
	}
	left := len(l.order)
	l.order, l.subscribers = nil, map[int32]*subscriber{}
	return map[string]int{"left": left}, nil
}

func wait(epoll int, events []syscall.EpollEvent, patience time.Duration) (int, error) {
	for {
		n, err := syscall.EpollWait(epoll, events, int(patience.Milliseconds()))
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func median(values []float64) float64 {
	sorted := append([]float64(nil), values...)
	sort.Float64s(sorted)
	return sorted[len(sorted)/2]
}

func max(one, other int) int {
	if one > other {
		return one
	}
	return other
}
