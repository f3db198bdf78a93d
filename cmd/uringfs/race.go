//go:build linux

package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/uringfs/uringfs/internal/racelab"
)

func raceCommand() *cobra.Command {
	var o racelab.Options
	cmd := &cobra.Command{
		Use:   "race",
		Short: "show which bytes an SMB client receives when a file changes while the answer is in flight",
		Long: "race starts a server as a child, lets a client ask for a range and stop receiving, proves from the kernel that the\n" +
			"answer is in flight, changes the file, lets the client receive, and judges every page. Root gets a loop-mounted ext4,\n" +
			"made and removed by the run; other users a directory on tmpfs.",
		Example: "  uringfs race\n  uringfs race --json --seed 7\n" +
			"  uringfs race --case 'target=uringfs:unsafe-splice,path=unsafe-splice,fs=ext4,cache=large,window=receiver-queue,mutation=overwrite,mutator=mount,size=65536'",
		Args: cobra.NoArgs,
	}
	var asJSON bool
	run := func(cmd *cobra.Command, _ []string) error {
		if err := checkRoads(o.Policy, o.Loop); err != nil {
			return err
		}
		o.Out = cmd.OutOrStdout()
		if asJSON {
			o.Out, o.JSON = io.Discard, cmd.OutOrStdout()
		}
		if term.IsTerminal(int(os.Stderr.Fd())) {
			o.Progress = cmd.ErrOrStderr()
		}
		summary, err := racelab.Run(cmd.Context(), o)
		switch {
		case errors.Is(err, racelab.ErrCase):
			return usage("%w", err)
		case errors.Is(err, racelab.ErrPrerequisite):
			return missing(err)
		case err != nil:
			return err
		}
		switch summary.Outcome {
		case racelab.Held:
			return nil
		case racelab.Undecided:
			return &exitError{code: exitInconclusive}
		default:
			return &exitError{code: exitBroken}
		}
	}
	f := cmd.PersistentFlags()
	f.Uint64Var(&o.Seed, "seed", 1, "decides offsets and contents; the same seed gives the same verdicts")
	f.StringVar(&o.Case, "case", "", "one cell, in the form that --json prints")
	f.StringSliceVar(&o.Targets, "targets", nil, "NAME[:PATH], as uringfs:copy")
	f.StringSliceVar(&o.Paths, "paths", nil, "read paths: copy, unsafe-splice")
	f.StringVar(&o.FS, "fs", "", "scratch file system: ext4, xfs, btrfs or tmpfs; default: ext4 as root, else tmpfs")
	f.StringVar(&o.Engine, "engine", "auto", "engine of the target: auto, ring or syscall")
	registerRoads(f, &o.Policy, &o.Loop)
	f.StringVar(&o.WorkDir, "dir", "", "where the scratch image goes; default: the temporary directory")
	f.BoolVar(&asJSON, "json", false, "one object a cell")
	cmd.RunE = run
	cmd.AddCommand(&cobra.Command{Use: "run", Short: "the same as race alone", Args: cobra.NoArgs, RunE: run})
	return cmd
}
