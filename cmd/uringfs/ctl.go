//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/uringfs/uringfs/internal/ctl"
)

func ctlCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{Use: "ctl", Short: "status of a running server, through its control socket"}
	cmd.PersistentFlags().StringVar(&socket, "socket", "", "control socket, as in the ready line; default: the only server running")
	cmd.AddCommand(&cobra.Command{
		Use: "status", Short: "engine, fallbacks, read paths and request counts as JSON", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := socket
			if path == "" {
				var err error
				if path, err = onlySocket(); err != nil {
					return missing(err)
				}
			}
			st, err := ctl.Get(cmd.Context(), path)
			if err != nil {
				return missing(err)
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(st)
		},
	})
	return cmd
}

// onlySocket finds the control socket where there is just one server.
func onlySocket() (string, error) {
	running, err := ctl.Running()
	if err != nil {
		return "", err
	}
	switch len(running) {
	case 0:
		return "", errors.New("no server of this user is running")
	case 1:
		return running[0], nil
	default:
		return "", fmt.Errorf("several servers: give --socket with one of %q", running)
	}
}
