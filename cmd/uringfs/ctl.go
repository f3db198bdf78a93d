//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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

// onlySocket finds the control socket where there is just one server. What killed servers left behind is removed.
func onlySocket() (string, error) {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(ctl.Path(0)), "*.sock"))
	if err != nil {
		return "", err
	}
	found = slices.DeleteFunc(found, func(path string) bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
		}
		dead := errors.Is(err, unix.ECONNREFUSED)
		if dead {
			os.Remove(path)
		}
		return dead
	})
	switch len(found) {
	case 0:
		return "", errors.New("no server of this user is running")
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("several servers: give --socket with one of %q", found)
	}
}
