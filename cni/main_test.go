package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var plugin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kube-ovn-plugin")
	if err != nil {
		panic(err)
	}
	plugin = filepath.Join(dir, "kube-ovn")
	build := exec.Command("go", "build", "-o", plugin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// run executes the plugin as a container runtime does and returns its standard output and exit code.
func run(t *testing.T, stdin string, env ...string) (string, int) {
	t.Helper()
	command := exec.Command(plugin)
	command.Env = env
	command.Stdin = strings.NewReader(stdin)
	out, err := command.Output()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out), command.ProcessState.ExitCode()
}

func conflist(socket string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "kube-ovn", "type": "kube-ovn", "server_socket": %q}`, socket)
}

// serve answers on a unix socket and returns its path.
func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handle}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket
}

func errorOf(t *testing.T, out string) cniError {
	t.Helper()
	var answer cniError
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return answer
}

func TestForwardsEnvironmentAndStdin(t *testing.T) {
	var got request
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &got); err != nil || r.URL.Path != "/api/v1/cni" {
			t.Errorf("%s %q: %v", r.URL.Path, body, err)
		}
		io.WriteString(w, `{"cniVersion":"1.0.0","ips":[]}`)
	})
	out, code := run(t, conflist(socket), "CNI_COMMAND=ADD", "CNI_IFNAME=eth0", "CNI_ARGS=a=b;c=d", "HOME=/root")
	if code != 0 || out != `{"cniVersion":"1.0.0","ips":[]}` {
		t.Errorf("exit %d, %q", code, out)
	}
	if len(got.Env) != 3 || got.Env["CNI_ARGS"] != "a=b;c=d" || got.Stdin != conflist(socket) {
		t.Errorf("the daemon got %+v", got)
	}
}

func TestErrorOfTheDaemonIsPrinted(t *testing.T) {
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"code":4,"msg":"no"}`)
	})
	out, code := run(t, conflist(socket), "CNI_COMMAND=ADD")
	if code != 1 || errorOf(t, out).Code != 4 {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestLargeAnswer(t *testing.T) {
	large := `{"x":"` + strings.Repeat("y", 1<<20) + `"}`
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, large) })
	if out, code := run(t, conflist(socket), "CNI_COMMAND=ADD"); code != 0 || out != large {
		t.Errorf("exit %d, %d bytes", code, len(out))
	}
}

func TestNoAnswer(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for command, want := range map[string]int{"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 50} {
		out, code := run(t, conflist(absent), "CNI_COMMAND="+command)
		if answer := errorOf(t, out); code != 1 || answer.Code != want || answer.CNIVersion != "1.0.0" {
			t.Errorf("%s: exit %d, %q", command, code, out)
		}
	}
}

func TestDeleteWithoutDaemonSucceeds(t *testing.T) {
	directory := t.TempDir()
	stale := filepath.Join(directory, "stale")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	for _, socket := range []string{stale, filepath.Join(directory, "absent")} {
		if out, code := run(t, conflist(socket), "CNI_COMMAND=DEL"); code != 0 || out != "" {
			t.Errorf("exit %d, %q", code, out)
		}
	}
}

// A daemon that dies in the middle may have done half of a DEL: the runtime must ask again.
func TestCutAnswerIsAnError(t *testing.T) {
	for _, cut := range []string{"", "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{"} {
		socket := filepath.Join(t.TempDir(), "s")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, _ := listener.Accept()
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, cut)
			conn.Close()
		}()
		out, code := run(t, conflist(socket), "CNI_COMMAND=DEL")
		if code != 1 || errorOf(t, out).Code != 11 {
			t.Errorf("exit %d, %q", code, out)
		}
		listener.Close()
	}
}

func TestVersion(t *testing.T) {
	out, code := run(t, `{"cniVersion": "0.4.0"}`, "CNI_COMMAND=VERSION")
	want := `{"cniVersion":"0.4.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}` + "\n"
	if code != 0 || out != want {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestStart(t *testing.T) {
	best := time.Hour
	for range [20]struct{}{} {
		started := time.Now()
		run(t, "", "CNI_COMMAND=VERSION")
		best = min(best, time.Since(started))
	}
	t.Logf("start, request and exit: %v at best", best)
	if best > 10*time.Millisecond {
		t.Errorf("the plugin takes %v to start", best)
	}
}
