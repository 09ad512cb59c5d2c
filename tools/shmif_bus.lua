-- Wireshark opens the file of a bus as a capture, and shows the records of its ring. It reads the file
-- from the oldest record to the newest, and never writes to it. docs/wireshark.md lists the fields,
-- docs/bus-format.md explains the layout. Others may overwrite records while they are read: reading
-- ends at the first commit word that does not belong to its position.
--
-- What the dissector gets for each frame: the position of the record (8 bytes), the index of the
-- frame in a shared record (4), bits (4; 1: a shared record, 2: something is left to do), and the
-- name of the sender (32); then the header of the record and the frame, as in the file.

local format_version = 7
local slots_at, slot_bytes, slot_count = 4096, 512, 256
local ring_at = 196608
local header_bytes, vnet_bytes, more_bytes = 32, 12, 48
local frame, pad = 2, 3 -- kinds of a commit word

local two_32 = 4294967296

-- The numbers of a file are little-endian. Those that are used here stay below 2^53.
local function number(bytes, at) return (Struct.unpack("<I4", bytes, at + 1)) end
local function long(bytes, at) return number(bytes, at) + number(bytes, at + 4) * two_32 end

-- From a string, the bits of a commit word.
local function word_of(bytes)
  local low, high = number(bytes, 0), number(bytes, 4)
  local word = { kind = bit.rshift(high, 30) }
  if word.kind == frame then
    word.vnet = bit.band(high, 0x20000000) ~= 0
    word.shared = bit.band(high, 0x10000000) ~= 0
    word.bytes = bit.band(bit.rshift(high, 10), 0x3ffff)
    word.next = header_bytes + math.ceil(word.bytes / 32) * 32
    word.place, word.place_bits = low + bit.band(high, 0x3ff) * two_32, 42
  elseif word.kind == pad then
    word.next = bit.band(bit.rshift(high, 3), 0x7ffffff) * 16
    word.place, word.place_bits = low + bit.band(high, 7) * two_32, 35
  end
  return word
end

local reader = FileHandler.new("shmif bus", "shmif_bus", "the file of a shmif bus", "rs")

local function read_at(file, offset, length)
  if length == 0 then return "" end
  if not file:seek("set", offset) then return nil end
  local bytes = file:read(length)
  if not bytes or #bytes ~= length then return nil end
  return bytes
end

-- `length` bytes of the ring from `position` on, also where they cross its end.
local function ring(file, bus, position, length)
  local at = position % bus.ring_bytes
  local before_end = math.min(length, bus.ring_bytes - at)
  local head = read_at(file, ring_at + at, before_end)
  local tail = read_at(file, ring_at, length - before_end)
  return head and tail and head .. tail
end

local function name_of(file, slot, incarnation)
  if slot >= slot_count then return "" end
  local bytes = read_at(file, slots_at + slot * slot_bytes, 64)
  if not bytes then return "" end
  -- The incarnation is above the lowest byte of the state.
  if math.floor(long(bytes, 0) / 256) % two_32 ~= incarnation then return "" end
  return string.match(string.sub(bytes, 33, 64), "^[\33-\126]*")
end

-- Puts the frames of the record at `bus.position` into `bus.waiting`, and steps on. Result: whether
-- there was a record.
local function read_record(file, bus)
  if bus.read_bytes >= bus.ring_bytes then return false end
  local position = bus.position
  local header = ring(file, bus, position, header_bytes)
  if not header then return false end
  local word = word_of(header)
  if word.kind ~= frame and word.kind ~= pad then return false end
  if word.place ~= position / 16 % 2 ^ word.place_bits or word.next == 0 then return false end
  bus.position, bus.read_bytes = position + word.next, bus.read_bytes + word.next
  if word.kind == pad then return true end

  local body = word.next <= bus.ring_bytes and ring(file, bus, position + header_bytes, word.bytes)
  if not body then return false end
  local slot = Struct.unpack("<I2", header, 25)
  local name = name_of(file, slot, number(header, 28))
  local shared = word.shared and 1 or 0
  local left_to_do = word.vnet and 2 or 0
  local function add(index, bytes)
    local more = Struct.pack("<I4I4I4I4", position % two_32, math.floor(position / two_32), index,
      shared + left_to_do)
    table.insert(bus.waiting, {
      time = string.sub(header, 17, 24),
      bytes = more .. name .. string.rep("\0", 32 - #name) .. header .. bytes,
    })
  end
  if not word.shared then
    add(0, body)
    return true
  end
  local at, index = 0, 0
  while at + 4 <= #body do
    local length = number(body, at)
    if length < 14 or at + 4 + length > #body then break end
    add(index, string.sub(body, at + 5, at + 4 + length))
    at, index = at + 4 + math.ceil(length / 4) * 4, index + 1
  end
  return true
end

-- The next frame; nil at the end.
local function next_frame(file, bus)
  while #bus.waiting == 0 do
    if not read_record(file, bus) then return nil end
  end
  return table.remove(bus.waiting, 1)
end

local function fill(info, one)
  local time = UInt64.new(number(one.time, 0), number(one.time, 4))
  info.time = NSTime((time / 1000000000):tonumber(), (time % 1000000000):tonumber())
  info.data = one.bytes
  info.captured_length, info.original_length = #one.bytes, #one.bytes
  info.encap, info.rec_type = wtap_encaps.USER15, wtap_rec_types.PACKET
  info.flags = wtap_presence_flags.TS + wtap_presence_flags.CAP_LEN
  return true
end

function reader.read_open(file, capture)
  local header = read_at(file, 0, 200)
  if not header or string.sub(header, 1, 8) ~= "shmifbus" then return false end
  if number(header, 12) ~= 1 or string.byte(header, 12) ~= format_version then return false end
  if number(header, 24) ~= ring_at then return false end
  local bus = { ring_bytes = long(header, 16), waiting = {}, read_bytes = 0, frames = {} }
  bus.position = long(header, 192)
  if bus.ring_bytes < 65536 or bus.ring_bytes > 2 ^ 30 then return false end
  capture.private_table = bus
  capture.encap, capture.time_precision = wtap_encaps.USER15, wtap_tsprecs.NSEC
  file:seek("set", 0)
  return true
end

-- Frames are kept as they were read: a ring is small, and others may overwrite it at any time.
function reader.read(file, capture, info)
  local bus = capture.private_table
  local one = next_frame(file, bus)
  if not one then return nil end
  table.insert(bus.frames, one)
  fill(info, one)
  return #bus.frames
end

function reader.seek_read(_, capture, info, offset)
  local one = capture.private_table.frames[offset]
  return one ~= nil and fill(info, one)
end

reader.extensions = ""
register_filehandler(reader)

local record = Proto("shmifrecord", "shmif record")
local segments = { [0] = "none", [1] = "TCP over IPv4", [4] = "TCP over IPv6", [5] = "UDP" }
local f = {
  position = ProtoField.uint64("shmifrecord.position", "Position"),
  number = ProtoField.uint64("shmifrecord.number", "Number of the frame"),
  index = ProtoField.uint32("shmifrecord.index", "Index in a shared record"),
  shared = ProtoField.bool("shmifrecord.shared", "Several frames share the record"),
  vnet = ProtoField.bool("shmifrecord.left_to_do", "Something is left to do"),
  port = ProtoField.string("shmifrecord.port", "Port that sent it"),
  slot = ProtoField.uint16("shmifrecord.slot", "Slot of that port"),
  incarnation = ProtoField.uint32("shmifrecord.incarnation", "Incarnation of the slot"),
  frames = ProtoField.uint16("shmifrecord.frames", "Frames that share it, or alike records"),
  word = ProtoField.uint64("shmifrecord.word", "Commit word", base.HEX),
  flags = ProtoField.uint8("shmifrecord.vnet.flags", "Flags (1: finish the checksum)", base.HEX),
  gso_type = ProtoField.uint8("shmifrecord.vnet.gso_type", "Kind of segments", base.DEC, segments),
  gso_size = ProtoField.uint16("shmifrecord.vnet.gso_size", "Payload of each segment"),
  csum_start = ProtoField.uint16("shmifrecord.vnet.csum_start", "Where the checksum begins"),
  csum_offset = ProtoField.uint16("shmifrecord.vnet.csum_offset", "Where it is, from there"),
}
record.fields = {
  f.position, f.number, f.index, f.shared, f.vnet, f.port, f.slot, f.incarnation, f.frames, f.word,
  f.flags, f.gso_type, f.gso_size, f.csum_start, f.csum_offset,
}

local ethernet = Dissector.get("eth_withoutfcs")

function record.dissector(buffer, pinfo, tree)
  if buffer:len() < more_bytes + header_bytes then return 0 end
  local marks = buffer(12, 4):le_uint()
  local before = more_bytes + header_bytes
  local vnet = bit.band(marks, 2) ~= 0
  if vnet then before = before + vnet_bytes end
  if buffer:len() < before then return 0 end
  local header = buffer(more_bytes, header_bytes)
  local of = tree:add(record, buffer(0, before))
  of:add_le(f.position, buffer(0, 8))
  of:add(f.number, header(8, 8), header(8, 8):le_uint64() + buffer(8, 4):le_uint())
  of:add(f.shared, header(0, 8), bit.band(marks, 1) ~= 0)
  if bit.band(marks, 1) ~= 0 then of:add_le(f.index, buffer(8, 4)) end
  of:add(f.vnet, header(0, 8), vnet)
  of:add(f.port, buffer(16, 32), buffer(16, 32):stringz())
  of:add_le(f.slot, header(24, 2))
  of:add_le(f.frames, header(26, 2))
  of:add_le(f.incarnation, header(28, 4))
  of:add_le(f.word, header(0, 8))
  if vnet then
    local work = buffer(more_bytes + header_bytes, vnet_bytes)
    of:add_le(f.flags, work(0, 1))
    of:add(f.gso_type, work(1, 1), bit.band(work(1, 1):uint(), 0x7f))
    of:add_le(f.gso_size, work(4, 2))
    of:add_le(f.csum_start, work(6, 2))
    of:add_le(f.csum_offset, work(8, 2))
  end
  ethernet:call(buffer(before):tvb(), pinfo, tree)
  return buffer:len()
end
DissectorTable.get("wtap_encap"):add(wtap_encaps.USER15, record)
