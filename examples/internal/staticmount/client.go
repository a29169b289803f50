// SPDX-License-Identifier: MIT

package staticmount

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A client talks to the server over one connection that it keeps alive.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base, &http.Client{Transport: &http.Transport{}}}
}

// get returns the body, or an error that says what the server said.
func (c *client) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// A report is what the incident reads of /debug/fdguard?format=json.
type report struct {
	ProcessOpen int
	Headroom    int
	ByName      []group
}

type group struct {
	Name    string
	Handles int
}

func (c *client) report(ctx context.Context) (report, error) {
	var r report
	body, err := c.get(ctx, "/debug/fdguard?format=json")
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(body), &r)
}
