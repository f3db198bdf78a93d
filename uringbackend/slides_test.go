//go:build linux

package uringbackend_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/uringfs/uringfs/uringbackend"
)

// TestSlides holds docs/slides.md against the tree: each verb has a row, and each test, case and caller that it names is
// there.
func TestSlides(t *testing.T) {
	page, err := os.ReadFile("../docs/slides.md")
	require.NoError(t, err)
	tree := os.DirFS("..")
	tests, suite := goFiles(t, tree, "_test.go"), ""
	for name, text := range goFiles(t, tree, ".go") {
		if strings.HasPrefix(name, "uringbackend/enginetest/") {
			suite += text
		}
	}
	for _, finding := range slidesFindings(string(page), tree, tests, suite) {
		t.Error(finding)
	}

	// And the check finds what is wrong.
	bad := strings.NewReplacer("`tee`", "`tea`", "TestDurableChanges", "TestDurableChange", "…/Tee`", "…/Tea`", "readAt`", "readOff`").Replace(string(page))
	assert.Len(t, slidesFindings(bad, tree, tests, suite), 4)
}

func slidesFindings(page string, tree fs.FS, tests map[string]string, suite string) (out []string) {
	for _, k := range Kinds() {
		if !strings.Contains(page, "`"+k.String()+"`") {
			out = append(out, "no row has the verb "+k.String())
		}
	}
	seen := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(?:(Test\\w+)|…/(\\w+)|([\\w/]+\\.go)(?::(\\w+))?)`").FindAllStringSubmatch(page, -1) {
		if seen[m[0]] {
			continue
		}
		seen[m[0]] = true
		switch test, suiteCase, file, function := m[1], m[2], m[3], m[4]; {
		case test != "":
			found := false
			for _, text := range tests {
				found = found || strings.Contains(text, "func "+test+"(")
			}
			if !found {
				out = append(out, "there is no test "+test)
			}
		case suiteCase != "":
			if !strings.Contains(suite, `{"`+suiteCase+`",`) {
				out = append(out, "the suite has no case "+suiteCase)
			}
		default:
			text, err := fs.ReadFile(tree, file)
			if err != nil || !regexp.MustCompile(`(?m)^func (\([^)]*\) )?`+function).Match(text) {
				out = append(out, "there is no function "+file+":"+function)
			}
		}
	}
	slices.Sort(out)
	return out
}

// goFiles reads the files of the tree whose names end so.
func goFiles(t *testing.T, tree fs.FS, end string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	require.NoError(t, fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path.Base(name) == ".git" || path.Base(name) == "bin"):
			return fs.SkipDir
		case !d.Type().IsRegular() || !strings.HasSuffix(name, end):
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		files[name] = string(text)
		return err
	}))
	return files
}
