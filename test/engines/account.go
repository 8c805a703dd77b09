package engines

import (
	"errors"
	"os"
	"os/user"
	"strconv"
)

// account is a user of this machine.
type account struct{ uid, gid uint32 }

// dropRoot gives the folder of the server to another account, as which the server then
// runs, if this process is root: PostgreSQL refuses to run as root.
func (s *Server) dropRoot() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return err
	}
	s.account = &account{uint32(uid), uint32(gid)}
	return os.Chown(s.Folder, int(uid), int(gid))
}
