// Command kube-ovn is the CNI plugin: it hands the runtime's request to the daemon of its node and prints the answer.
//
// It decides nothing. The environment (CNI_*) and standard input travel as they are in one HTTP request over a unix
// socket; status 2xx means success, anything else carries a CNI error object. Only what the daemon cannot say is said
// here: VERSION, and that the daemon is not there. It is a static binary because it runs on hosts without Python, and
// small because every Pod waits for its start.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultSocket = "/run/openvswitch/kube-ovn-daemon.sock"
	// The daemon gives up after 60 s and says why; the kubelet waits 120 s at least.
	deadline = 90 * time.Second

	// Error codes of the CNI specification.
	codeTryAgainLater = 11
	codeNotAvailable  = 50
)

var supported = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// conf holds the keys of the network configuration that are read here; the daemon reads and judges the whole.
type conf struct {
	CNIVersion   string `json:"cniVersion"`
	ServerSocket string `json:"server_socket"`
}

type request struct {
	Env   map[string]string `json:"env"`
	Stdin string            `json:"stdin"`
}

type cniError struct {
	CNIVersion string `json:"cniVersion"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func main() {
	stdin, err := io.ReadAll(os.Stdin)
	config := conf{CNIVersion: supported[len(supported)-1], ServerSocket: defaultSocket}
	if err == nil {
		// What cannot be read is left to the daemon's judgement.
		_ = json.Unmarshal(stdin, &config)
	}
	command := os.Getenv("CNI_COMMAND")
	if command == "VERSION" {
		write(map[string]any{"cniVersion": config.CNIVersion, "supportedVersions": supported})
		return
	}
	status, body, err := ask(config.ServerSocket, request{Env: environment(), Stdin: string(stdin)})
	if err != nil {
		os.Exit(refuse(command, config, err))
	}
	os.Stdout.Write(body)
	if status/100 != 2 {
		os.Exit(1)
	}
}

// environment returns the variables that make up the runtime's request.
func environment() map[string]string {
	env := map[string]string{}
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "CNI_") {
			env[name] = value
		}
	}
	return env
}

// ask sends one request and reads the whole answer. HTTP/1.0 by hand: net/http would double the time to start.
func ask(socket string, what request) (int, []byte, error) {
	payload, err := json.Marshal(what)
	if err != nil {
		return 0, nil, err
	}
	conn, err := net.DialTimeout("unix", socket, deadline)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return 0, nil, err
	}
	header := fmt.Sprintf("POST /api/v1/cni HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(payload))
	if _, err := conn.Write(append([]byte(header), payload...)); err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return 0, nil, err
	}
	return parse(answer)
}

// parse takes an HTTP response apart. One that ends early is an error, not half a result.
func parse(answer []byte) (int, []byte, error) {
	head, body, complete := bytes.Cut(answer, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	fields := strings.Fields(lines[0])
	if !complete || len(fields) < 2 {
		return 0, nil, errors.New("the daemon closed the connection before it answered")
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Content-Length") && strings.TrimSpace(value) != strconv.Itoa(len(body)) {
			return 0, nil, errors.New("the daemon's answer is cut short")
		}
	}
	status, err := strconv.Atoi(fields[1])
	return status, body, err
}

// refuse answers in place of a daemon that does not, and returns the exit code.
func refuse(command string, config conf, err error) int {
	absent := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
	if command == "DEL" && absent {
		// Nothing is lost: when the daemon starts, it removes whatever belongs to a sandbox that is gone. An error here
		// would only keep Pods in Terminating for as long as the daemon is away.
		return 0
	}
	code := codeTryAgainLater
	if command == "STATUS" {
		code = codeNotAvailable
	}
	write(cniError{config.CNIVersion, code, "kube-ovn-cniserver on this node does not answer", err.Error()})
	return 1
}

func write(value any) {
	_ = json.NewEncoder(os.Stdout).Encode(value)
}
