// Command idle is a service that does nothing: it says that it is ready, in systemd's
// language, and waits for SIGTERM. It is small, so that a hundred of it are.
//
// With an argument it first leaves a process behind, in a session of its own, that
// has its output and its sockets, and writes its number into that file.
package main

import (
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	if len(os.Args) > 1 {
		try(leaveBehind(os.Args[1]))
	}
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		try(err)
		_, err = c.Write([]byte("READY=1"))
		try(err)
		c.Close()
	}
	<-leave
}

func leaveBehind(file string) error {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	sockets, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for n := range sockets {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(3+n), "socket"))
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strconv.Itoa(cmd.Process.Pid) + "\n")
	return err
}

func try(err error) {
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
