"""A fake Proxmox VE host for the tests: the program `fakepve`, told what to do over a second, plain port.

It runs as a process of its own and shares nothing with homestak but sockets and snippet files. Beside what the fake can do,
it knows what homestak relies on and the fake leaves out: importing a disk from a volume, growing one, and how long each kind
of task takes. It refuses file paths for disks as PVE does for every API token, and counts them.

Commands are one JSON object each, in the body of a POST to `/`:
  {"call": NAME, "args": [...], "kwargs": {...}}   a method of the fake (docs/python-api of fakepve)
  {"set": NAME, "to": VALUE, "vmid": ID}           an attribute of the fake, or of one of its guests
Looks are GETs: `/state`, `/requests`, `/errors?method=&path=`.
"""

import argparse
import asyncio
import contextvars
import inspect
import json
import os
import re
import time

from aiohttp import web
from fakepve.qemu import NEW_DISK, join_drive, split_drive, volume_ref
from fakepve.lxc import format_size
from fakepve.model import TaskError
from fakepve.server import FakePve
from fakepve import errors

GIB = 1024 ** 3
# Whether it is for fetching a file that somebody's privileges are looked at.
FETCHING = contextvars.ContextVar('fetching', default=False)


class Host(FakePve):
    """The fake, with what homestak relies on."""

    def __init__(self, node, token, storage=None, **kwargs):
        super().__init__(**kwargs)
        # A folder whose files are volumes of the storage `local` as well.
        self.storage = storage
        self.nodes = {node: {'online': True}}
        name, _, value = token.partition('=')
        self.apitokens[name] = value
        # How long tasks of a kind take, in PVE seconds: {'qmcreate': 1.0}.
        self.task_secs = {}
        # Every file path that somebody wanted a disk from.
        self.paths = []
        # How many tasks of each kind ran at once, at most.
        self.at_once = {}
        self._now = {}
        # What the log of a running task of a kind says: {'qmcreate': ['transferred 1 GiB of 2 GiB']}.
        self.task_lines = {}
        # Guests that the token may not see.
        self.hidden = []
        # Every request: when it came by the clock that all processes share, over which connection, and what was answered.
        self.seen = []
        self._losing = None
        self._late = None
        self._hanging = []
        images = {'import/debian-12-custom.qcow2': 2 * GIB, 'import/debian-13-pve.qcow2': 3 * GIB}
        volumes = dict((name, {'content': 'import', 'format': 'qcow2', 'size': size, 'ctime': 1})
                       for name, size in images.items())
        volumes['iso/debian-13-custom.img'] = {'content': 'iso', 'format': 'iso', 'size': 2 * GIB, 'ctime': 1}
        for name in ('debian-11-standard_11.7-1_amd64.tar.zst', 'debian-12-standard_12.7-1_amd64.tar.zst'):
            volumes['vztmpl/' + name] = {'content': 'vztmpl', 'format': 'tzst', 'size': GIB // 8, 'ctime': 1}
        self.storages['local'].update(content='iso,vztmpl,backup,snippets,import', volumes=volumes)
        if storage:
            self.storages['local']['path'] = storage

    def _volumes(self, name):
        found = super()._volumes(name)
        if name != 'local' or not self.storage:
            return found
        for content, below, endings in (('import', 'import', ('.qcow2', '.raw', '.vmdk')),
                                        ('iso', 'template/iso', ('.iso', '.img')),
                                        ('vztmpl', 'template/cache', ('.tar.gz', '.tar.xz', '.tar.zst'))):
            folder = os.path.join(self.storage, below)
            for file in os.listdir(folder) if os.path.isdir(folder) else ():
                if file.endswith(endings):
                    about = os.stat(os.path.join(folder, file))
                    found[content + '/' + file] = {'content': content, 'format': file.rsplit('.', 1)[-1],
                                                   'size': about.st_size, 'ctime': int(about.st_mtime)}
        return found

    def drop_guest(self, vmid):
        """Somebody has removed a guest by hand."""
        self.vms = [vm for vm in self.vms if vm.vmid != vmid]

    def drop_volume(self, sid, name):
        """A volume that is there from the beginning goes."""
        self.storages[sid]['volumes'].pop(name)

    def take_no_snippets(self):
        """The storage `local` takes everything but snippets from now on."""
        self.storages['local']['content'] = 'iso,vztmpl,backup,import'

    def forget_volume(self, sid, name):
        """A volume goes, if it is there."""
        self.storages[sid].get('volumes', {}).pop(name, None)

    async def task(self, node, ttype, tid, user, body, vm=None, lock=True, log=()):
        async def slow():
            self._now[ttype] = self._now.get(ttype, 0) + 1
            self.at_once[ttype] = max(self.at_once.get(ttype, 0), self._now[ttype])
            try:
                await self.pause(self.task_secs.get(ttype, 0))
                return await body()
            finally:
                self._now[ttype] -= 1
        log = list(log) + self.task_lines.get(ttype, [])
        return await super().task(node, ttype, tid, user, slow, vm=vm, lock=lock, log=log)

    def _record(self, request, body):
        super()._record(request, body)
        method, path, kept = self.requests[-1]
        peer = request.transport.get_extra_info('peername') if request.transport else None
        request['seen'] = {'method': method, 'path': path, 'query': request.query_string,
                           'body': kept.decode(errors='replace'), 'at': time.monotonic(),
                           'port': peer[1] if peer else None}
        self.seen.append(request['seen'])

    def qm_set(self, vmid, key, value, order):
        """What root's own `qm set` does, which takes a path to import from."""
        volume, props = split_drive(value)
        props = dict(props)
        size = os.stat(props.pop('import-from')).st_size
        volid, _ = self._qm_alloc(NEW_DISK.match(volume).group(1), vmid, None, size)
        self.guest(vmid).config.update({key: join_drive(volid, dict(props, size=format_size(size))), 'boot': order})

    def fail_again(self, failures):
        """Puts failures back that were looked at before."""
        self.failures = dict((tuple(key), rule) for key, rule in failures)

    def storage_of(self, name):
        """A storage as it is, as far as JSON has it."""
        return dict((key, value) for key, value in self.storages[name].items() if not isinstance(value, set))

    def set_storage(self, name, options):
        self.storages[name] = dict(options, files=set())

    def late(self, method, suffix, secs):
        """The next such request is seen, and begins only after so many PVE seconds."""
        self._late = (method, suffix, secs)

    def lose_answer(self, method, suffix):
        """The next such request is done, and its answer lost: the connection breaks."""
        self._losing = (method, suffix)

    def hang(self, method, suffix, done):
        """The next such request is never answered, whether it is done or not."""
        self._hanging.append((method, suffix, done))

    def hangs(self):
        """What is still to hang."""
        return self._hanging

    async def _answer(self, request, handler, generic, path_node):
        if self._late and request.method == self._late[0] and request.path.endswith(self._late[1]):
            secs, self._late = self._late[2], None
            await self.pause(secs)
        for rule in self._hanging:
            method, suffix, done = rule
            if request.method == method and request.path.endswith(suffix):
                self._hanging.remove(rule)
                if done:
                    await super()._answer(request, handler, generic, path_node)
                await asyncio.Event().wait()
        answer = await super()._answer(request, handler, generic, path_node)
        request['seen'].update(status=answer.status, said=answer.text if answer.status >= 400 else None)
        if self._losing and request.method == self._losing[0] and request.path.endswith(self._losing[1]):
            self._losing = None
            request.transport.close()
            raise ConnectionResetError('the answer is lost')
        return answer

    def _source(self, value):
        source = split_drive(value)[1].get('import-from')
        if source and volume_ref(source)[0] is None:
            self.paths.append(source)
            from fakepve.model import PveError
            raise PveError(500, 'Only root can pass arbitrary filesystem paths.')
        return source

    def _qm_check_drive(self, user, vmid, pool, key, value, default):
        source = self._source(value)
        super()._qm_check_drive(user, vmid, pool, key, value, default)
        if source:
            sid, name = volume_ref(source)
            vtype, owner, _ = self._parse_volname(self._store(sid), name)
            self._check_access(user, sid, vtype, owner, source)

    def _qm_new_drive(self, vmid, key, value, default):
        source = self._source(value)
        volume, props = split_drive(value)
        found = NEW_DISK.match(volume)
        if not source or not found:
            return super()._qm_new_drive(vmid, key, value, default)
        sid, name = volume_ref(source)
        image = self._volumes(sid).get(name)
        if image is None:
            raise TaskError("volume '{0}' does not exist".format(source))
        props = dict(props)
        props.pop('import-from')
        volid, _ = self._qm_alloc(found.group(1) or default, vmid, None, int(image['size']))
        props['size'] = format_size(int(image['size']))
        return join_drive(volid, props), [volid]

    def allowed(self, user, path, priv):
        if priv == 'VM.Audit' and path in ['/vms/{0}'.format(vmid) for vmid in self.hidden]:
            return False
        # What is granted on a storage takes the place of what is granted on everything.
        if self.acl is not None and path.startswith('/storage/'):
            there = [privs for granted, privs in self.acl.get(user, []) if granted == path]
            if there:
                return any(priv in privs for privs in there)
        return super().allowed(user, path, priv)

    def require(self, user, path, priv):
        # To fetch a file it takes the one or the others.
        node = '/nodes/{0}'.format(next(iter(self.nodes)))
        if FETCHING.get() and path == '/' and self.allowed(user, node, 'Sys.AccessNetwork'):
            return
        super().require(user, path, priv)

    async def _download_url(self, request):
        FETCHING.set(True)
        return await super()._download_url(request)

    async def _qm_create(self, v, user):
        # As qemu-server of PVE 9 does.
        for volid in (part.partition('=')[2] for part in (v.get('cicustom') or '').split(',') if part):
            sid, name = volume_ref(volid)
            vtype, owner, _ = self._parse_volname(self._store(sid), name)
            self._check_access(user, sid, vtype, owner, volid)
        return await super()._qm_create(v, user)

    def _routes_homestak(self):
        return [('PUT', '/nodes/{node}/qemu/{vmid}/resize', self._qm_resize)]

    async def _qm_resize(self, v, user):
        vm = self.find(v['node'], v['vmid'])
        self._check_lock(vm)
        if v['disk'] not in vm.config:
            from fakepve.model import PveError
            raise PveError(500, "disk '{0}' does not exist".format(v['disk']))

        async def body():
            volume, props = split_drive(vm.config[v['disk']])
            props = dict(props, size=str(v['size']))
            vm.config[v['disk']] = join_drive(volume, props)
            stored = self._qm_volume(volume)
            if stored:
                stored['size'] = int(re.sub(r'\D', '', str(v['size']))) * GIB
        return await self.task(vm.node, 'resize', vm.vmid, user, body, vm=vm)


def shown(guest, kind):
    return {'vmid': guest.vmid, 'kind': kind, 'name': guest.name, 'node': guest.node, 'status': guest.status,
            'lock': guest.lock, 'config': guest.config, 'pending': guest.pending, 'started': guest.started_at}


class Control:
    """The second port."""

    def __init__(self, pve):
        self.pve = pve

    async def state(self, request):
        pve = self.pve
        guests = [shown(vm, 'qemu') for vm in pve.vms]
        guests += [dict(vmid=ct.vmid, kind='lxc', name=ct.name, node=ct.node, status=ct.status, lock=ct.lock,
                        config=ct.config, pending=ct.pending, started=None) for ct in pve.cts]
        volumes = [sid + ':' + name for sid, store in pve.storages.items() for name in store.get('volumes', {})]
        tasks = [dict((k, t.get(k)) for k in ('upid', 'type', 'id', 'status', 'exitstatus')) for t in pve.tasklog]
        return web.json_response({'guests': guests, 'volumes': sorted(volumes), 'tasks': tasks, 'paths': pve.paths,
                                  'at_once': pve.at_once})

    async def requests(self, request):
        return web.json_response(self.pve.seen)

    async def failures(self, request):
        return web.json_response([[list(key), rule] for key, rule in self.pve.failures.items()])

    async def errors(self, request):
        return web.json_response(errors.listing(request.query['method'], request.query['path']))

    async def command(self, request):
        given = await request.json()
        if 'set' in given:
            target = self.pve.guest(given['vmid']) if given.get('vmid') else self.pve
            setattr(target, given['set'], given['to'])
            return web.json_response(None)
        result = getattr(self.pve, given['call'])(*given.get('args', []), **given.get('kwargs', {}))
        if inspect.isawaitable(result):
            result = await result
        return web.json_response(None if not isinstance(result, (str, int, list, dict)) else result)


async def serve(args):
    pve = Host(args.node, args.token, storage=args.storage, host=args.host, port=args.port)
    pve.time_scale = args.time_scale
    await pve.start(args.cert, args.key)
    control = Control(pve)
    app = web.Application()
    app.add_routes([web.get('/state', control.state), web.get('/requests', control.requests),
                    web.get('/errors', control.errors), web.get('/failures', control.failures), web.post('/', control.command)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, args.host, 0).start()
    print(json.dumps({'port': pve.port, 'control': runner.addresses[0][1]}), flush=True)
    await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--host', required=True)
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--node', required=True)
    parser.add_argument('--token', required=True)
    parser.add_argument('--cert', required=True)
    parser.add_argument('--key', required=True)
    parser.add_argument('--storage')
    parser.add_argument('--time-scale', type=float, default=0.0)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == '__main__':
    main()
