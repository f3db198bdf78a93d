package hexdump_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/uringfs/uringfs/internal/hexdump"
)

func TestRead(t *testing.T) {
	assert.Equal(t, []hexdump.Entry{
		{Name: "first", Data: []byte{0, 1, 2, 0xff}},
		{Name: "empty"},
		{Name: "second", Data: []byte{0xab}},
	}, hexdump.Read(t, "sample.txt"))
	assert.Equal(t, map[string][]byte{"first": {0, 1, 2, 0xff}, "empty": nil, "second": {0xab}}, hexdump.ReadMap(t, "sample.txt"))
}
