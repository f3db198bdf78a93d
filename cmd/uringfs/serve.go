//go:build linux

package main

import "github.com/spf13/cobra"

func serveCommand() *cobra.Command {
	s := &service{smb: &smbOptions{}, fs: &mountOptions{}}
	cmd := &cobra.Command{
		Use:     "serve BACKING MNT",
		Short:   "mount BACKING at MNT and serve it over SMB, from one process",
		Example: "  uringfs serve /srv/data /mnt/data --guest\n  uringfs serve /srv/data /mnt/data --passwd-file users --listen 0.0.0.0:445",
		Args:    cobra.ExactArgs(2),
	}
	return s.bind(cmd)
}

func mountCommand() *cobra.Command {
	s := &service{fs: &mountOptions{}}
	return s.bind(&cobra.Command{
		Use:     "mount BACKING MNT",
		Short:   "mount BACKING at MNT",
		Example: "  uringfs mount /srv/data /mnt/data -o allow_other",
		Args:    cobra.ExactArgs(2),
	})
}

func smbCommand() *cobra.Command {
	s := &service{smb: &smbOptions{}}
	return s.bind(&cobra.Command{
		Use:     "smb DIR",
		Short:   "serve DIR over SMB; DIR may be on a mount that another process serves",
		Example: "  uringfs smb /srv/data --guest\n  uringfs smb /srv/data --passwd-file users --share data",
		Args:    cobra.ExactArgs(1),
	})
}

// bind gives cmd the flags of what s serves, and runs s.
func (s *service) bind(cmd *cobra.Command) *cobra.Command {
	s.engineOptions.register(cmd.Flags())
	if s.smb != nil {
		s.smb.register(cmd.Flags())
	}
	if s.fs != nil {
		s.fs.register(cmd.Flags())
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.out, s.errs = cmd.OutOrStdout(), cmd.ErrOrStderr()
		s.backing = args[0]
		if s.fs != nil {
			s.mnt = args[1]
		}
		return s.run(cmd.Context())
	}
	return cmd
}
