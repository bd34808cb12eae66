package stay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Ask sends a GET over a connection of its own, and returns the pid that is in
// the answer.
func Ask(target Target, path string) (pid int, err error) {
	nc, err := target.dial()
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct{ PID int }
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer.PID, err
}
