python3 - <<'X'
import tarfile, io
t = tarfile.open("a.tar", "w")
i = tarfile.TarInfo("a"); i.size = 2; i.mode = 0o755; i.uid = 5; i.gid = 6; i.mtime = 1200000000; t.addfile(i, io.BytesIO(b"a\n"))
i = tarfile.TarInfo("b"); i.type = tarfile.LNKTYPE; i.linkname = "a"; i.mode = 0o600; i.uid = 7; i.mtime = 1300000000; t.addfile(i)
i = tarfile.TarInfo("c"); i.type = tarfile.LNKTYPE; i.linkname = "opt/keep.txt"; i.mode = 0o640; i.gid = 7; t.addfile(i)
t.close()
X
