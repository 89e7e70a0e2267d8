python3 - <<'E'
import tarfile, io
t = tarfile.open("a.tar", "w")
i = tarfile.TarInfo("../../etc/motd"); i.size = 1; t.addfile(i, io.BytesIO(b"x"))
t.close()
E
