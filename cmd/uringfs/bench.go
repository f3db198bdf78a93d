//go:build linux

package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/uringfs/uringfs/internal/bench"
)

func benchCommand() *cobra.Command {
	var o bench.Options
	var list bool
	cmd := &cobra.Command{
		Use: "bench", Short: "compare with what you would use instead, in interleaved pairs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if list {
				bench.List(cmd.OutOrStdout())
				return nil
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.Executable, o.Out, o.Progress = self, cmd.OutOrStdout(), cmd.ErrOrStderr()
			met, err := bench.Run(cmd.Context(), o)
			switch {
			case errors.Is(err, bench.ErrPrerequisite):
				return missing(err)
			case err != nil:
				return err
			case !met:
				return &exitError{code: exitBroken}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&list, "list", false, "list the comparisons and their goals")
	f.BoolVar(&o.JSON, "json", false, "one object a line")
	f.StringVar(&o.Only, "only", "", "a glob on names, as 'smb/*'")
	f.IntVar(&o.Rounds, "rounds", bench.MinRounds, "interleaved pairs, at least 5")
	f.StringVar(&o.Engine, "engine", "auto", "engine of the servers: auto, ring or syscall")
	f.StringVar(&o.Dir, "dir", "", "where scratch files go; default: the temporary directory")
	f.DurationVar(&o.Sample, "sample", time.Second, "how long one side of a pair runs, where its work has no end of its own")
	f.StringVar(&o.GoLib, "go-lib", "", "program that is the peer of ring/vs-go-lib")
	return cmd
}
