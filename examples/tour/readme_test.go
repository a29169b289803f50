// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// Every program of the README is the text of an Example, which go test runs.
func TestREADMEProgramsAreExamples(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	readme := read(t, filepath.Join(root, "README.md"))
	var examples strings.Builder
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasPrefix(filepath.Base(file), "example") {
				examples.WriteString(dedent(read(t, file)))
			}
		}
	}
	programs := goBlock.FindAllStringSubmatch(readme, -1)
	if len(programs) == 0 {
		t.Fatal("the README shows no program")
	}
	for _, program := range programs {
		if !strings.Contains(examples.String(), dedent(program[1])) {
			t.Errorf("no Example has this text of the README:\n%s", program[1])
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// dedent removes all indentation, which differs between a function's body and the
// README.
func dedent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
