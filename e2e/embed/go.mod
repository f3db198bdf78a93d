module example.org/embed

go 1.26.0

require (
	github.com/uringfs/uringfs v0.0.0
	golang.org/x/sys v0.49.0
)

replace github.com/uringfs/uringfs => ../..
