package presence

import "slices"

// shares says how much of a total other nodes have. What is left of it is this node's own, so that a
// node that is alone, as most of what most nodes know, takes nothing here.
type shares []share

type share struct {
	node  uint32 // a peer's place
	count int32
}

// add changes a node's share. A node without a share isn't there.
func (s *shares) add(node uint32, by int32) {
	i := slices.IndexFunc(*s, func(x share) bool { return x.node == node })
	if i < 0 {
		*s = append(*s, share{node, by})
		return
	}
	if (*s)[i].count += by; (*s)[i].count == 0 {
		last := len(*s) - 1
		(*s)[i] = (*s)[last]
		*s = (*s)[:last]
	}
}

// of returns a node's share.
func (s shares) of(node uint32) int32 {
	for _, x := range s {
		if x.node == node {
			return x.count
		}
	}
	return 0
}

// sum is what all others have.
func (s shares) sum() int {
	sum := 0
	for _, x := range s {
		sum += int(x.count)
	}
	return sum
}
