//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// The first signal ends the work in order; a second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := root().ExecuteContext(ctx)
	var silent *exitError
	if err != nil && (!errors.As(err, &silent) || silent.err != nil) {
		fmt.Fprintf(os.Stderr, "uringfs: %v\n", err)
	}
	os.Exit(code(err))
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uringfs",
		Short: "FUSE loopback over io_uring, an SMB server over it, and a lab for page-cache races",
		Long: "uringfs mounts a directory through FUSE with io_uring behind it, serves it over SMB2/3, and shows where\n" +
			"a server that answers by splice sends bytes that were written after its answer.",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w\nsee: %s --help", err, c.CommandPath())
	})
	cmd.AddCommand(serveCommand(), mountCommand(), smbCommand(), passwdCommand(), raceCommand(), benchCommand(), probeCommand(), ctlCommand())
	wrapArgs(cmd)
	return cmd
}

// wrapArgs makes a wrong number of arguments, and a subcommand that does not exist, a usage error everywhere.
func wrapArgs(c *cobra.Command) {
	check := c.Args
	if c.HasSubCommands() && c.RunE == nil {
		check = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
			}
			return nil
		}
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage("%w\nusage: %s", err, c.UseLine())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}
