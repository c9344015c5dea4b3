// Full TLS 1.3 handshakes, as many as the server can do: handshakes HOST:PORT PATH SIZE SECONDS CONNECTIONS.
//
// Each connection makes a handshake without resumption, takes one small file and closes. TLS_AES_128_GCM_SHA256, X25519,
// an ECDSA certificate for P-256. A client of a TLS library works harder than its server, since verifying a signature takes
// longer than signing, and so would be measured rather than the server. This one keeps its X25519 key, compares the
// certificate with the first it saw, and leaves the signature unverified, which is what makes it cheap and useless
// for anything else. The server's Finished is checked, and so are the length and status of what it sends.
package main

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/curve25519"
)

const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	serverHello       = 2
	certificate       = 11
	certificateWanted = 13
	finished          = 20
	aes128GcmSha256   = 0x1301
	extensionKeyShare = 0x0033
	groupX25519       = 0x001d
)

var (
	address, path       string
	size                int
	private, public     []byte
	emptyHash           = sha256.Sum256(nil)
	derivedEarly        = expand(extract(make([]byte, 32), make([]byte, 32)), "derived", emptyHash[:], 32)
	firstCertificate    []byte
	checkingCertificate sync.Mutex
	sources             uint32
)

func main() {
	if len(os.Args) != 6 {
		fail(errors.New("usage: handshakes HOST:PORT PATH SIZE SECONDS CONNECTIONS"))
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(1000)
	address, path = os.Args[1], os.Args[2]
	size = number(os.Args[3])
	seconds, connections := number(os.Args[4]), number(os.Args[5])
	private = make([]byte, 32)
	rand.Read(private)
	var err error
	if public, err = curve25519.X25519(private, curve25519.Basepoint); err != nil {
		fail(err)
	}

	var times []float64
	var adding sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	until := began.Add(time.Duration(seconds) * time.Second)
	for n := 0; n < connections; n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			var own []float64
			for time.Now().Before(until) {
				start := time.Now()
				if err := once(); err != nil {
					fail(err)
				}
				own = append(own, float64(time.Since(start).Microseconds()))
			}
			adding.Lock()
			times = append(times, own...)
			adding.Unlock()
		}()
	}
	all.Wait()
	took := time.Since(began).Seconds()
	sort.Float64s(times)
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	print(map[string]interface{}{
		"handshakes": len(times), "seconds": took, "cpu": cpu,
		"p50_us": times[len(times)/2], "p99_us": times[len(times)*99/100],
	})
}

// once makes a connection, a handshake, a request, and ends all of it.
func once() error {
	// One address has too few ports for the connections that the kernel still remembers.
	from := byte(2 + atomic.AddUint32(&sources, 1)%100)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReaderSize(conn, 8<<10)

	hello := clientHello()
	if _, err := conn.Write(plain(hello)); err != nil {
		return err
	}
	transcript := sha256.New()
	transcript.Write(hello)

	kind, answer, err := record(in)
	if err != nil {
		return err
	}
	if kind != recordHandshake || answer[0] != serverHello {
		return fmt.Errorf("no ServerHello: record %d, % x", kind, answer[:min(len(answer), 16)])
	}
	if len(answer) != 4+length24(answer[1:]) {
		return errors.New("something follows the ServerHello in its record")
	}
	theirs, err := keyShare(answer)
	if err != nil {
		return err
	}
	transcript.Write(answer)
	shared, err := curve25519.X25519(private, theirs)
	if err != nil {
		return err
	}
	secret := extract(derivedEarly, shared)
	hash := transcript.Sum(nil)
	clientSecret := expand(secret, "c hs traffic", hash, 32)
	serverSecret := expand(secret, "s hs traffic", hash, 32)

	reader := newSealer(serverSecret)
	var messages []byte
	asked := false
	for done := false; !done; {
		inner, text, err := reader.open(in)
		if err != nil {
			return err
		}
		if inner != recordHandshake {
			return fmt.Errorf("record %d in the midst of the handshake: % x", inner, text)
		}
		messages = append(messages, text...)
		for len(messages) >= 4 && len(messages) >= 4+length24(messages[1:]) {
			message := messages[:4+length24(messages[1:])]
			messages = messages[len(message):]
			switch message[0] {
			case certificate:
				if err := checkCertificate(message); err != nil {
					return err
				}
			case certificateWanted:
				asked = true
			case finished:
				if !hmac.Equal(message[4:], mac(expand(serverSecret, "finished", nil, 32), transcript.Sum(nil))) {
					return errors.New("the server's Finished is wrong")
				}
				done = true
			}
			transcript.Write(message)
		}
	}

	hash = transcript.Sum(nil)
	master := extract(expand(secret, "derived", emptyHash[:], 32), make([]byte, 32))
	var flight []byte
	if asked {
		flight = []byte{certificate, 0, 0, 4, 0, 0, 0, 0} // none
		transcript.Write(flight)
	}
	verify := mac(expand(clientSecret, "finished", nil, 32), transcript.Sum(nil))
	flight = append(append(flight, finished, 0, 0, 32), verify...)
	out := newSealer(clientSecret).seal(nil, recordHandshake, flight)
	writer := newSealer(expand(master, "c ap traffic", hash, 32))
	request := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\n\r\n"
	if _, err := conn.Write(writer.seal(out, recordData, []byte(request))); err != nil {
		return err
	}
	if err := response(in, newSealer(expand(master, "s ap traffic", hash, 32))); err != nil {
		return err
	}
	_, err = conn.Write(writer.seal(nil, recordAlert, []byte{1, 0})) // close_notify
	return err
}

// response takes a whole answer; what else comes, tickets, is decrypted and left alone.
func response(in *bufio.Reader, reader *sealer) error {
	var got []byte
	for {
		inner, text, err := reader.open(in)
		if err != nil {
			return err
		}
		if inner == recordAlert {
			return fmt.Errorf("alert % x", text)
		}
		if inner != recordData {
			continue
		}
		got = append(got, text...)
		end := bytes.Index(got, []byte("\r\n\r\n"))
		if end < 0 {
			continue
		}
		if !bytes.HasPrefix(got, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer: %.200q", got)
		}
		if body := len(got) - end - 4; body == size {
			return nil
		} else if body > size {
			return fmt.Errorf("%d bytes instead of %d", body, size)
		}
	}
}

func clientHello() []byte {
	random := make([]byte, 32)
	rand.Read(random)
	extensions := [][]byte{
		{0x00, 0x2b, 0, 3, 2, 0x03, 0x04},                         // supported_versions: 1.3
		{0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x1d},                      // supported_groups: x25519
		{0x00, 0x0d, 0, 4, 0, 2, 0x04, 0x03},                      // signature_algorithms: ecdsa_secp256r1_sha256
		append([]byte{0x00, 0x10, 0, 11, 0, 9, 8}, "http/1.1"...), // ALPN
		append([]byte{0x00, 0x33, 0, 38, 0, 36, 0x00, 0x1d, 0, 32}, public...),
	}
	body := append([]byte{3, 3}, random...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0) // no session, one suite, no compression
	joined := bytes.Join(extensions, nil)
	body = append(body, byte(len(joined)>>8), byte(len(joined)))
	body = append(body, joined...)
	return append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// keyShare is the server's X25519 key in its ServerHello.
func keyShare(hello []byte) ([]byte, error) {
	rest := hello[4+2+32:]
	rest = rest[1+int(rest[0]):] // the session
	if binary.BigEndian.Uint16(rest) != aes128GcmSha256 {
		return nil, errors.New("the server chose another cipher suite")
	}
	for rest = rest[5:]; len(rest) >= 4; {
		kind, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if kind == extensionKeyShare && length == 36 && binary.BigEndian.Uint16(rest[4:]) == groupX25519 {
			return rest[8:40], nil
		}
		rest = rest[4+length:]
	}
	return nil, errors.New("no X25519 key in the ServerHello")
}

func checkCertificate(message []byte) error {
	checkingCertificate.Lock()
	defer checkingCertificate.Unlock()
	if firstCertificate != nil {
		if !bytes.Equal(firstCertificate, message) {
			return errors.New("another certificate than before")
		}
		return nil
	}
	// An empty context, the list's length, the first certificate's length.
	leaf, err := x509.ParseCertificate(message[11 : 11+length24(message[8:])])
	if err != nil {
		return err
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return errors.New("the certificate is not ECDSA P-256")
	}
	firstCertificate = append([]byte(nil), message...)
	return nil
}

// sealer encrypts or decrypts the records of one direction.
type sealer struct {
	aead  cipher.AEAD
	iv    []byte
	count uint64
}

func newSealer(secret []byte) *sealer {
	block, err := aes.NewCipher(expand(secret, "key", nil, 16))
	if err != nil {
		fail(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		fail(err)
	}
	return &sealer{aead: aead, iv: expand(secret, "iv", nil, 12)}
}

func (s *sealer) nonce() []byte {
	nonce := append([]byte(nil), s.iv...)
	for n := 0; n < 8; n++ {
		nonce[4+n] ^= byte(s.count >> (56 - 8*n))
	}
	s.count++
	return nonce
}

func (s *sealer) seal(out []byte, kind byte, text []byte) []byte {
	inner := append(append([]byte(nil), text...), kind)
	length := len(inner) + s.aead.Overhead()
	head := []byte{recordData, 3, 3, byte(length >> 8), byte(length)}
	return s.aead.Seal(append(out, head...), s.nonce(), inner, head)
}

func (s *sealer) open(in *bufio.Reader) (byte, []byte, error) {
	for {
		kind, sealed, err := record(in)
		if err != nil {
			return 0, nil, err
		}
		if kind != recordData {
			if kind == 20 { // change_cipher_spec, for the sake of old middleboxes
				continue
			}
			return 0, nil, fmt.Errorf("record %d: % x", kind, sealed)
		}
		head := []byte{recordData, 3, 3, byte(len(sealed) >> 8), byte(len(sealed))}
		text, err := s.aead.Open(sealed[:0], s.nonce(), sealed, head)
		if err != nil {
			return 0, nil, err
		}
		text = bytes.TrimRight(text, "\x00") // padding
		return text[len(text)-1], text[:len(text)-1], nil
	}
}

func record(in *bufio.Reader) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	content := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, err := io.ReadFull(in, content)
	return head[0], content, err
}

func plain(message []byte) []byte {
	return append([]byte{recordHandshake, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
}

func extract(salt, key []byte) []byte { return mac(salt, key) }

// expand is HKDF-Expand-Label for at most one block.
func expand(secret []byte, label string, context []byte, length int) []byte {
	info := []byte{0, byte(length), byte(6 + len(label))}
	info = append(append(info, "tls13 "...), label...)
	info = append(append(info, byte(len(context))), context...)
	return mac(secret, append(info, 1))[:length]
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

func length24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		fail(err)
	}
	return n
}

func print(result map[string]interface{}) {
	line, _ := json.Marshal(result)
	fmt.Println(string(line))
}

func fail(err error) {
	print(map[string]interface{}{"error": err.Error()})
	os.Exit(1)
}
