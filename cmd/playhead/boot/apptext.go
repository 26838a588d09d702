package boot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// appText is the text of a configuration file while its apps are edited. What isn't about an app that
// changes stays as it is, byte by byte; an app that changes is written anew, with its comments. Forms that
// people rarely write, such as apps in one line, are written anew as a whole.
type appText struct {
	lines []string // without their ends
	crlf  bool
	root  *yaml.Node // nil: nothing but comments
	key   *yaml.Node // "apps"; nil: it isn't there
	list  *yaml.Node // its value
}

func newAppText(text []byte) (*appText, error) {
	t := &appText{crlf: bytes.Contains(text, []byte("\r\n"))}
	t.lines = strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"), "\n")
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return t, nil
	}
	if t.root = doc.Content[0]; t.root.Kind != yaml.MappingNode {
		return nil, errors.New("the file must be a mapping of keys to values")
	}
	for i := 0; i+1 < len(t.root.Content); i += 2 {
		if t.root.Content[i].Value == "apps" {
			t.key, t.list = t.root.Content[i], t.root.Content[i+1]
		}
	}
	return t, nil
}

// bytes returns the text.
func (t *appText) bytes() []byte {
	end := "\n"
	if t.crlf {
		end = "\r\n"
	}
	return []byte(strings.Join(t.lines, end) + end)
}

// block says that the list is written as one item below the other.
func (t *appText) block() bool {
	return t.list != nil && t.list.Kind == yaml.SequenceNode && t.list.Style&yaml.FlowStyle == 0 && len(t.list.Content) > 0 &&
		t.root.Style&yaml.FlowStyle == 0
}

// add puts an app behind the others.
func (t *appText) add(item *yaml.Node) error {
	switch {
	case t.block():
		_, end := t.item(len(t.list.Content) - 1)
		return t.replace(end, end, t.dash(0), item)
	case t.key == nil && (t.root == nil || t.root.Style&yaml.FlowStyle == 0):
		if len(t.lines) == 1 && t.lines[0] == "" {
			t.lines = nil
		}
		if len(t.lines) > 0 && t.lines[len(t.lines)-1] != "" {
			t.lines = append(t.lines, "")
		}
		t.lines = append(t.lines, "apps:")
		return t.replace(len(t.lines), len(t.lines), 2, item)
	case t.key == nil:
		t.list = &yaml.Node{Kind: yaml.SequenceNode}
		t.root.Content = append(t.root.Content, scalar("apps"), t.list)
	case t.list.Kind != yaml.SequenceNode: // null, in whatever way it is written
		*t.list = yaml.Node{Kind: yaml.SequenceNode, LineComment: t.list.LineComment}
	}
	if len(t.list.Content) == 0 {
		t.list.Style &^= yaml.FlowStyle
		if t.key != nil && t.list.LineComment != "" { // it stands behind the key now
			t.key.LineComment, t.list.LineComment = t.list.LineComment, ""
		}
	} else {
		item.Style |= t.list.Content[0].Style & yaml.FlowStyle
	}
	t.list.Content = append(t.list.Content, item)
	return t.anew()
}

// change changes an app.
func (t *appText) change(i int, do func(item *yaml.Node) error) error {
	if !t.block() {
		if t.list == nil || t.list.Kind != yaml.SequenceNode || i >= len(t.list.Content) {
			return errors.New("the apps aren't a list that can be edited here; edit it by hand")
		}
		if err := do(t.list.Content[i]); err != nil {
			return err
		}
		return t.anew()
	}
	// Read by itself it has the comments that stand in it, and no others.
	start, end := t.item(i)
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(strings.Join(t.lines[start:end], "\n")+"\n"), &doc); err != nil {
		return fmt.Errorf("line %d: the app can't be read by itself (%w); edit it by hand", start+1, err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode || len(doc.Content[0].Content) != 1 {
		return fmt.Errorf("line %d: the app can't be edited here; edit it by hand", start+1)
	}
	item := doc.Content[0].Content[0]
	if err := do(item); err != nil {
		return err
	}
	return t.replace(start, end, t.dash(i), item)
}

// remove takes an app out, with the comment that stands right above it.
func (t *appText) remove(i int) error {
	if !t.block() {
		if t.list == nil || i >= len(t.list.Content) {
			return errors.New("the apps aren't a list that can be edited here; edit it by hand")
		}
		t.list.Content = slices.Delete(t.list.Content, i, i+1)
		return t.anew()
	}
	start, end := t.item(i)
	for start > t.key.Line && strings.HasPrefix(t.lines[start-1], strings.Repeat(" ", t.dash(i))+"#") {
		start--
	}
	if end < len(t.lines) && t.lines[end] == "" && (start == t.key.Line || t.lines[start-1] == "") {
		end++ // of the empty lines around it one is enough, and the first item needs none
	}
	t.lines = slices.Delete(t.lines, start, end)
	return nil
}

// dash returns the column of an item's dash, from 0, or −1.
func (t *appText) dash(i int) int {
	n := t.list.Content[i]
	for at := n.Line - 1; at >= t.key.Line && at < len(t.lines); at-- {
		line := t.lines[at]
		if at == n.Line-1 {
			line = line[:min(len(line), n.Column-1)]
		}
		if trimmed := strings.TrimLeft(line, " "); strings.HasPrefix(trimmed, "-") {
			return len(line) - len(trimmed)
		}
	}
	return 0
}

// item returns an item's lines: from its dash to the line before what is another's.
func (t *appText) item(i int) (start, end int) {
	dash := t.dash(i)
	begins := func(i int) int {
		at := t.list.Content[i].Line - 1
		for at > 0 && !strings.HasPrefix(strings.TrimLeft(t.lines[at], " "), "-") {
			at--
		}
		return at
	}
	start, end = begins(i), t.after()
	if i+1 < len(t.list.Content) {
		end = begins(i + 1)
	}
	return start, t.back(start, end, dash)
}

// back leaves out what stands above what comes next: empty lines, and comments that aren't within the item.
func (t *appText) back(start, end, dash int) int {
	for end > start+1 {
		trimmed := strings.TrimLeft(t.lines[end-1], " \t")
		if trimmed != "" && trimmed != "..." && (trimmed[0] != '#' || len(t.lines[end-1])-len(trimmed) > dash) {
			break
		}
		end--
	}
	return end
}

// after returns the line, from 0, at which the key after apps begins.
func (t *appText) after() int {
	end := len(t.lines)
	for i := 0; i < len(t.root.Content); i += 2 {
		if line := t.root.Content[i].Line; line > t.key.Line {
			end = min(end, line-1)
		}
	}
	return end
}

// replace writes an item in the place of lines, its dash at a column.
func (t *appText) replace(start, end, dash int, item *yaml.Node) error {
	text, err := encoded(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{item}})
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", dash) + line
		}
	}
	t.lines = slices.Replace(t.lines, start, end, lines...)
	return nil
}

// anew writes apps anew as a whole, and everything where it is all in one.
func (t *appText) anew() error {
	if t.root.Style&yaml.FlowStyle != 0 {
		text, err := encoded(t.root)
		if err != nil {
			return err
		}
		t.lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return nil
	}
	start, end := t.key.Line-1, t.after()
	end = t.back(start, end, 0)
	key := *t.key
	key.HeadComment, key.FootComment = "", "" // they stand outside of these lines
	list := *t.list
	list.FootComment = ""
	text, err := encoded(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{&key, &list}})
	if err != nil {
		return err
	}
	t.lines = slices.Replace(t.lines, start, end, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	return nil
}
