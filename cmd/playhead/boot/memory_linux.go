package boot

import (
	"bytes"
	"os"
	"path"
	"strconv"
)

// memoryNow reads what the kernel tells. What can't be read counts as 0.
func memoryNow() memory {
	total := 1024 * number(line("/proc/meminfo", "MemTotal:"))
	for _, file := range []string{
		// In a container its own group is the root that it sees.
		path.Join("/sys/fs/cgroup", string(bytes.TrimSpace(line("/proc/self/cgroup", "0::"))), "memory.max"),
		"/sys/fs/cgroup/memory.max",
		"/sys/fs/cgroup/memory/memory.limit_in_bytes", // version 1
	} {
		if limit := number(line(file, "")); limit > 0 && limit < total {
			total = limit
		}
	}
	return filled(total, 1024*number(line("/proc/self/status", "VmRSS:")))
}

// line returns what follows on the line of a file that begins so.
func line(file, begin string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(begin)); ok {
			return rest
		}
	}
	return nil
}

// number reads the first word, 0 when that is no number.
func number(text []byte) uint64 {
	words := bytes.Fields(text)
	if len(words) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(string(words[0]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
