// Package uringfs_test holds the house rules as tests of the tree: which package may import which, what every
// package, goroutine and parser must carry. The tree is read with go/parser, never through `go list`, whose
// results a test cache would hide.
package uringfs_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/uringfs/uringfs"

// arrows says which packages of this module a package may import outside its tests. Arrows go down only.
var arrows = map[string][]string{
	"cmd/uringfs": {
		"fusefs", "internal/bench", "internal/ctl", "internal/passwd", "internal/racelab", "internal/supervise",
		"smbserver", "smbserver/dirshare", "uringbackend",
	},
	"fusefs":                  {"internal/supervise", "uringbackend"},
	"uringbackend":            {"uringbackend/uring"},
	"uringbackend/uring":      {},
	"uringbackend/enginetest": {"uringbackend"},
	"smbserver":               {"internal/dcerpc", "internal/fscc", "internal/ntlm", "internal/smb2", "internal/smbcrypt", "internal/spnego", "smbserver/datapath"},
	"smbserver/datapath":      {},
	"smbserver/dirshare":      {"internal/fscc", "smbserver", "uringbackend"},
	"smbserver/smbtest":       {"internal/fscc", "internal/seed", "smbserver"},
	"internal/smb2":           {"internal/fscc"},
	"internal/fscc":           {},
	"internal/dcerpc":         {"internal/fscc"},
	"internal/smbcrypt":       {},
	"internal/ntlm":           {},
	"internal/spnego":         {"internal/ntlm"},
	"internal/seed":           {},
	"internal/hexdump":        {},
	"internal/ctl":            {},
	"internal/passwd":         {"internal/ntlm"},
	"internal/supervise":      {},
	"internal/smbclient":      {"internal/fscc", "internal/ntlm", "internal/smb2", "internal/smbcrypt", "internal/spnego"},
	"internal/racelab":        {"internal/ctl", "internal/fscc", "internal/passwd", "internal/seed", "internal/smb2", "internal/smbclient", "internal/supervise"},
	"internal/bench":          {"internal/ctl", "internal/passwd", "internal/supervise", "uringbackend"},
	"e2e":                     {},
	"e2e/embed":               {"uringbackend"},
}

// foreign says which packages may import a module from outside in product code. What is not listed is for tests only.
var foreign = map[string][]string{
	"github.com/hanwen/go-fuse/v2":        {"fusefs"},
	"github.com/prometheus/client_golang": {"cmd/uringfs"},
	"github.com/prometheus/client_model":  {}, // what a test reads off the metrics page
	"github.com/prometheus/common":        {},
	"google.golang.org/protobuf":          {}, // protowire decodes traces in tests
	"github.com/cloudsoda/go-smb2":        {"internal/racelab"},
	"github.com/spf13/cobra":              {"cmd/uringfs"},
	"github.com/spf13/pflag":              {"cmd/uringfs"},
	"github.com/stretchr/testify":         {"internal/hexdump", "smbserver/smbtest", "uringbackend/enginetest"},
	"golang.org/x/crypto":                 {"internal/ntlm", "internal/spnego", "internal/smbcrypt"},
	"golang.org/x/sys":                    {"*"},
	"golang.org/x/term":                   {"cmd/uringfs"},
	"github.com/cloudsoda/sddl":           {},
	"github.com/hashicorp/go-uuid":        {},
	"github.com/geoffgarside/ber":         {},
	"github.com/jcmturner/gokrb5/v8":      {},
}

// long lists the files allowed past maxLines, each with its reason.
var long = map[string]string{}

const maxLines = 700

// source is the tree under test: a parsed Go file for each path.
type source struct {
	fsys  fs.FS
	fset  *token.FileSet
	files map[string]*ast.File
	text  map[string][]byte
}

func load(t *testing.T, fsys fs.FS) source {
	t.Helper()
	s := source{fsys: fsys, fset: token.NewFileSet(), files: map[string]*ast.File{}, text: map[string][]byte{}}
	require.NoError(t, fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := path.Base(name); name != "." && (base == ".git" || base == "bin" || base == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		s.text[name] = b
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(s.fset, name, b, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		s.files[name] = f
		return nil
	}))
	return s
}

func (s source) at(pos token.Pos) string {
	p := s.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// checks are the house rules. Each gets the tree and returns its findings; each has a failing sample below.
var checks = map[string]func(source) []string{
	"arrows":   checkArrows,
	"doc.go":   checkDoc,
	"length":   checkLength,
	"gofmt":    checkFormat,
	"ends":     checkGoroutines,
	"todo":     checkTODO,
	"parsers":  checkParsers,
	"init":     checkInit,
	"context":  checkContextFields,
	"sleep":    checkSleep,
	"exported": checkExported,
	"blobs":    checkBlobs,
	"paths":    checkMachinePaths,
	"agents":   checkAgents,
	"console":  checkConsole,
	"skips":    checkSkips,
}

func TestTidy(t *testing.T) {
	s := load(t, os.DirFS("."))
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			for _, finding := range check(s) {
				t.Error(finding)
			}
		})
	}
}

func checkArrows(s source) (out []string) {
	for name, f := range s.files {
		dir := path.Dir(name)
		if dir == "." || isTest(name) {
			continue
		}
		allowed, known := arrows[dir]
		if !known {
			out = append(out, fmt.Sprintf("%s: package %s is not in the map of arrows", name, dir))
			continue
		}
		for _, imp := range f.Imports {
			p := strings.Trim(imp.Path.Value, `"`)
			if rest, ok := strings.CutPrefix(p, module+"/"); ok {
				if !slices.Contains(allowed, rest) {
					out = append(out, fmt.Sprintf("%s: %s must not import %s", s.at(imp.Pos()), dir, rest))
				}
				continue
			}
			if !strings.Contains(strings.SplitN(p, "/", 2)[0], ".") {
				continue // standard library
			}
			ok := false
			for mod, users := range foreign {
				if p == mod || strings.HasPrefix(p, mod+"/") {
					ok = slices.Contains(users, dir) || slices.Contains(users, "*")
				}
			}
			if !ok {
				out = append(out, fmt.Sprintf("%s: %s must not import %s", s.at(imp.Pos()), dir, p))
			}
		}
	}
	return out
}

func checkDoc(s source) (out []string) {
	dirs := map[string]bool{}
	for name := range s.files {
		if dir := path.Dir(name); dir != "." && !isTest(name) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		f, ok := s.files[path.Join(dir, "doc.go")]
		switch {
		case !ok:
			out = append(out, dir+": no doc.go")
		case f.Doc == nil:
			out = append(out, dir+"/doc.go: no package comment")
		case strings.Count(f.Doc.Text(), "\n") > 60:
			out = append(out, dir+"/doc.go: over 60 lines")
		}
	}
	return out
}

func checkLength(s source) (out []string) {
	for name := range s.files {
		if n := bytes.Count(s.text[name], []byte("\n")); n > maxLines && long[name] == "" {
			out = append(out, fmt.Sprintf("%s: %d lines, over %d without a reason in the list", name, n, maxLines))
		}
	}
	return out
}

func checkFormat(s source) (out []string) {
	for name := range s.files {
		b, err := format.Source(s.text[name])
		if err != nil || !bytes.Equal(b, s.text[name]) {
			out = append(out, name+": not gofmt'ed")
		}
	}
	return out
}

// checkGoroutines demands a line `// ends when …; waited by …` above every go statement of the product.
func checkGoroutines(s source) (out []string) {
	for name, f := range s.files {
		if isTest(name) {
			continue
		}
		said := map[int]bool{}
		for _, group := range f.Comments {
			if strings.Contains(group.Text(), "ends when") {
				said[s.fset.Position(group.End()).Line] = true
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok && !said[s.fset.Position(g.Pos()).Line-1] {
				out = append(out, s.at(g.Pos())+": go without `// ends when …; waited by …` on the line above")
			}
			return true
		})
	}
	return out
}

var todo = regexp.MustCompile(`\b(TO` + `DO\b(?:[^(]|\([^#])|FIX` + `ME|X` + `XX\b)`)

func checkTODO(s source) (out []string) {
	for _, f := range s.files {
		for _, group := range f.Comments {
			if todo.MatchString(group.Text()) {
				out = append(out, s.at(group.Pos())+": a note to do something, without an issue number")
			}
		}
	}
	return out
}

// checkParsers demands, for each exported Parse function of the wire codecs, a fuzz target and a golden test that
// name it.
func checkParsers(s source) (out []string) {
	codecs := []string{"internal/smb2", "internal/fscc", "internal/dcerpc", "internal/ntlm", "internal/spnego"}
	fuzzed, golden := map[string]bool{}, map[string]bool{}
	for name, f := range s.files {
		if !isTest(name) {
			continue
		}
		dir := path.Dir(name)
		for _, decl := range f.Decls {
			var into []map[string]bool
			switch d := decl.(type) {
			case *ast.FuncDecl:
				switch {
				case strings.HasPrefix(d.Name.Name, "Fuzz"):
					into = append(into, fuzzed)
				case strings.Contains(d.Name.Name, "Golden") || strings.Contains(d.Name.Name, "golden"):
					into = append(into, golden)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && len(v.Names) > 0 {
						switch {
						case strings.Contains(strings.ToLower(v.Names[0].Name), "golden"):
							into = append(into, golden)
						case strings.Contains(strings.ToLower(v.Names[0].Name), "fuzz"):
							into = append(into, fuzzed)
						}
					}
				}
			}
			if into == nil {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && strings.HasPrefix(id.Name, "Parse") {
					for _, m := range into {
						m[dir+"."+id.Name] = true
					}
				}
				return true
			})
		}
	}
	for name, f := range s.files {
		dir := path.Dir(name)
		if isTest(name) || !slices.Contains(codecs, dir) {
			continue
		}
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || d.Recv != nil || !strings.HasPrefix(d.Name.Name, "Parse") {
				continue
			}
			if !fuzzed[dir+"."+d.Name.Name] {
				out = append(out, fmt.Sprintf("%s: %s has no fuzz target", s.at(d.Pos()), d.Name.Name))
			}
			if !golden[dir+"."+d.Name.Name] {
				out = append(out, fmt.Sprintf("%s: %s has no golden test", s.at(d.Pos()), d.Name.Name))
			}
		}
	}
	return out
}

func checkInit(s source) (out []string) {
	for name, f := range s.files {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" && !isTest(name) {
				out = append(out, s.at(d.Pos())+": init")
			}
		}
	}
	return out
}

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == pkg
}

func checkContextFields(s source) (out []string) {
	for name, f := range s.files {
		if isTest(name) {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.StructType:
				for _, field := range n.Fields.List {
					if isSelector(field.Type, "context", "Context") {
						out = append(out, s.at(field.Pos())+": a context in a struct")
					}
				}
			case *ast.FuncType:
				for i, field := range n.Params.List {
					if i > 0 && isSelector(field.Type, "context", "Context") {
						out = append(out, s.at(field.Pos())+": a context that is not the first parameter")
					}
				}
			}
			return true
		})
	}
	return out
}

func checkSleep(s source) (out []string) {
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isSelector(call.Fun, "time", "Sleep") {
				out = append(out, s.at(call.Pos())+": time.Sleep")
			}
			return true
		})
	}
	return out
}

func checkExported(s source) (out []string) {
	for name, f := range s.files {
		if isTest(name) || f.Name.Name == "main" {
			continue
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					out = append(out, fmt.Sprintf("%s: %s has no doc comment", s.at(d.Pos()), d.Name.Name))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						out = append(out, fmt.Sprintf("%s: %s has no doc comment", s.at(ts.Pos()), ts.Name.Name))
					}
				}
			}
		}
	}
	return out
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if idx, ok := e.(*ast.IndexExpr); ok {
		e = idx.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}

func checkBlobs(s source) (out []string) {
	for name, b := range s.text {
		if len(b) > 1<<20 {
			out = append(out, fmt.Sprintf("%s: %d bytes, over 1 MiB", name, len(b)))
		}
	}
	return out
}

// machinePath finds what must not leave the machine the code was written on.
var machinePath = regexp.MustCompile(`(^|[^A-Za-z0-9_.-])/(wo` + `rk/(main|shared)|ro` + `ot/)|farm` + `-(studio|bench)|\.libr` + `ary/`)

func checkMachinePaths(s source) (out []string) {
	for name, b := range s.text {
		if m := machinePath.Find(b); m != nil {
			out = append(out, fmt.Sprintf("%s: names a path of one machine (%q)", name, m))
		}
	}
	return out
}

var (
	codeSpan = regexp.MustCompile("`([A-Za-z0-9_./-]+)`")
	makeVerb = regexp.MustCompile("`make ([a-z0-9-]+)")
	target   = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
)

// checkAgents reads AGENTS.md and CONTRIBUTING.md: short, and every path and verb they name exists.
func checkAgents(s source) (out []string) {
	if n := bytes.Count(s.text["AGENTS.md"], []byte("\n")); n > 60 || n == 0 {
		out = append(out, fmt.Sprintf("AGENTS.md: %d lines, must be 1 to 60", n))
	}
	verbs := map[string]bool{}
	for _, m := range target.FindAllSubmatch(s.text["Makefile"], -1) {
		verbs[string(m[1])] = true
	}
	for _, doc := range []string{"AGENTS.md", "CONTRIBUTING.md", "README.md"} {
		text := s.text[doc]
		if text == nil {
			out = append(out, doc+": missing")
		}
		for _, m := range makeVerb.FindAllSubmatch(text, -1) {
			if !verbs[string(m[1])] {
				out = append(out, fmt.Sprintf("%s: no verb %q in the Makefile", doc, m[1]))
			}
		}
		for _, m := range codeSpan.FindAllSubmatch(text, -1) {
			p := strings.TrimSuffix(string(m[1]), "/")
			if !strings.Contains(p, "/") || strings.Contains(p, "NNNN") || strings.HasPrefix(p, "/") || strings.HasPrefix(p, "golang.org/") || strings.HasPrefix(p, "github.com/") || strings.HasPrefix(p, "bin/") {
				continue
			}
			if _, err := fs.Stat(s.fsys, path.Clean(p)); err != nil {
				out = append(out, fmt.Sprintf("%s: names %s, which does not exist", doc, p))
			}
		}
	}
	return out
}

// checkConsole refuses transcripts that nothing keeps true: docs show commands, not output somebody once saw.
func checkConsole(s source) (out []string) {
	for name, b := range s.text {
		if strings.HasPrefix(name, "docs/") && bytes.Contains(b, []byte("```cons"+"ole")) {
			out = append(out, name+": a transcript that no script runs")
		}
	}
	return out
}

// skipsAllowed lists the files that may call t.Skip, with the reason a skip there is honest.
var skipsAllowed = map[string]string{
	"uringbackend/enginetest/require.go": "the one door for \"this kernel lacks it\"; it fails on kernels that should have it",
	"uringbackend/volume_test.go":        "needRoot: credentials and handles are root's; CI runs as root, where it never skips",
	"uringbackend/creds_test.go":         "default ACLs need a file system with ACLs under the temporary directory",
	"uringbackend/handle_test.go":        "direct I/O needs a file system with it under the temporary directory",
}

func checkSkips(s source) (out []string) {
	for name, f := range s.files {
		if skipsAllowed[name] != "" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf" || sel.Sel.Name == "SkipNow") {
					if id, ok := sel.X.(*ast.Ident); ok && (id.Name == "t" || id.Name == "b" || id.Name == "tb") {
						out = append(out, s.at(call.Pos())+": a skip that is not in the list")
					}
				}
			}
			return true
		})
	}
	return out
}

// TestTidyFinds gives each check a tree that breaks its rule: a check that cannot fail checks nothing.
func TestTidyFinds(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	samples := map[string]fstest.MapFS{
		"arrows":   {"smbserver/a.go": file("package smbserver\n\nimport _ \"" + module + "/fusefs\"\n")},
		"doc.go":   {"fusefs/a.go": file("package fusefs\n")},
		"length":   {"fusefs/a.go": file("package fusefs\n" + strings.Repeat("//\n", maxLines))},
		"gofmt":    {"fusefs/a.go": file("package fusefs\nvar  a int\n")},
		"ends":     {"fusefs/a.go": file("package fusefs\n\nfunc a() {\n\tgo a()\n}\n")},
		"todo":     {"fusefs/a.go": file("package fusefs\n\n// TO" + "DO later\n")},
		"parsers":  {"internal/smb2/a.go": file("package smb2\n\nfunc ParseX() {}\n")},
		"init":     {"fusefs/a.go": file("package fusefs\n\nfunc init() {}\n")},
		"context":  {"fusefs/a.go": file("package fusefs\n\nimport \"context\"\n\ntype a struct{ c context.Context }\n")},
		"sleep":    {"fusefs/a_test.go": file("package fusefs\n\nimport \"time\"\n\nfunc a() { time.Sleep(1) }\n")},
		"exported": {"fusefs/a.go": file("package fusefs\n\nfunc A() {}\n")},
		"blobs":    {"docs/blob": file(strings.Repeat("x", 1<<20+1))},
		"paths":    {"docs/a.md": file("see /wo" + "rk/main/x")},
		"agents":   {"AGENTS.md": file("see `no/such/file`\n"), "CONTRIBUTING.md": file("x\n"), "README.md": file("x\n")},
		"console":  {"docs/a.md": file("```cons" + "ole\n$ x\n```\n")},
		"skips":    {"fusefs/a_test.go": file("package fusefs\n\nfunc a(t interface{ Skip() }) { t.Skip() }\n")},
	}
	for name, check := range checks {
		require.Contains(t, samples, name)
		assert.NotEmpty(t, check(load(t, samples[name])), "the sample of %q passes", name)
	}
}
