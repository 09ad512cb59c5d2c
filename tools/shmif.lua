-- Wireshark dissectors for the frames that shmif makes itself: the probes of shmifperf and the
-- frames of `shmifctl ping`. Wireshark and tshark load this file from a folder for Lua plugins
-- (`tshark -G folders`), or with -X lua_script:shmif.lua. docs/wireshark.md lists the fields.
--
-- The layout of a probe is that of perf/frame/probe.hpp; that of a ping, of shmif/ping.hpp.

local kinds = { [0] = "data", [1] = "request", [2] = "reply" }
local probe_bytes = 46
local crc_at, no_crc_at = 40, 44

local perf = Proto("shmifperf", "shmifperf probe")
local f = {
  version = ProtoField.uint8("shmifperf.version", "Version"),
  kind = ProtoField.uint8("shmifperf.kind", "Kind", base.DEC, kinds),
  length = ProtoField.uint32("shmifperf.length", "Length of the whole frame or datagram"),
  flow = ProtoField.uint32("shmifperf.flow", "Flow"),
  nonce = ProtoField.uint32("shmifperf.nonce", "Nonce of the run", base.HEX),
  sequence = ProtoField.uint64("shmifperf.sequence", "Sequence number"),
  intended = ProtoField.uint64("shmifperf.intended_ns", "Intended time to send it [ns]"),
  sent = ProtoField.uint64("shmifperf.sent_ns", "Time when it was passed to the engine [ns]"),
  late = ProtoField.int64("shmifperf.late_ns", "Sent after the intended time [ns]"),
  crc = ProtoField.uint32("shmifperf.crc", "CRC-32C", base.HEX),
  status = ProtoField.string("shmifperf.crc.status", "CRC"),
  payload = ProtoField.bytes("shmifperf.payload", "Payload"),
}
perf.fields = {
  f.version, f.kind, f.length, f.flow, f.nonce, f.sequence, f.intended, f.sent, f.late, f.crc,
  f.status, f.payload,
}
perf.prefs.check_crc = Pref.bool("Check the CRC of each frame", true,
  "Takes some 0.1 ms for a frame of 1,500 bytes")
local corrupt = ProtoExpert.new("shmifperf.corrupt", "The CRC does not match: the frame was changed",
  expert.group.CHECKSUM, expert.severity.ERROR)
local cut = ProtoExpert.new("shmifperf.truncated", "The end of the frame is missing",
  expert.group.MALFORMED, expert.severity.ERROR)
perf.experts = { corrupt, cut }

local whole_frame = Field.new("frame")
local udp_checksum = Field.new("udp.checksum")
local tcp_checksum = Field.new("tcp.checksum")

-- CRC-32C (RFC 3720): the polynomial 0x1edc6f41, reflected.
local crc_table = {}
for i = 0, 255 do
  local crc = i
  for _ = 1, 8 do
    local odd = bit.band(crc, 1) ~= 0
    crc = bit.rshift(crc, 1)
    if odd then crc = bit.bxor(crc, 0x82f63b78) end
  end
  crc_table[i] = crc
end

-- The bytes of `text` from `first` on, up to but not including `last`, counted from 0.
local function add_to_crc(crc, text, first, last)
  for i = first + 1, last do
    local index = bit.band(bit.bxor(crc, text:byte(i)), 0xff)
    crc = bit.bxor(crc_table[index], bit.rshift(crc, 8))
  end
  return crc
end

-- The CRC of `text` with a probe at `at`, and a checksum at `checksum_at` that counts as 0.
local function crc_of(text, at, checksum_at)
  local crc, from = bit.bnot(0), 0
  if checksum_at then
    crc = add_to_crc(crc, text, 0, checksum_at)
    crc = add_to_crc(crc, "\0\0", 0, 2)
    from = checksum_at + 2
  end
  crc = add_to_crc(crc, text, from, at + crc_at)
  crc = add_to_crc(crc, text, at + no_crc_at, #text)
  return bit.bnot(crc) % 0x100000000
end

-- The length that a probe contains; nil if it does not agree with its complement.
local function length_of(buffer)
  local version = buffer(2, 1):uint()
  local low = buffer(4, 2):le_uint()
  if version == 2 then
    local high, check = buffer(6, 1):uint(), buffer(7, 1):uint()
    local folded = bit.bxor(bit.band(low, 0xff), bit.rshift(low, 8), high)
    if bit.band(bit.bnot(folded), 0xff) ~= check then return nil end
    return low + high * 0x10000
  end
  if low + buffer(6, 2):le_uint() ~= 0xffff then return nil end
  return low
end

local function is_probe(buffer)
  if buffer:len() < probe_bytes or buffer(0, 2):string() ~= "sp" then return false end
  local version = buffer(2, 1):uint()
  return (version == 1 or version == 2) and buffer(3, 1):uint() <= 2 and length_of(buffer) ~= nil
end

-- Where the checksum of the UDP or TCP header directly before the probe is in the frame. A UDP
-- header without a checksum has none that counts as 0.
local function checksum_place(buffer)
  local last
  for _, all in ipairs({ { udp_checksum() }, { tcp_checksum() } }) do
    for _, each in ipairs(all) do
      if each.offset < buffer:offset() and (not last or each.offset > last.offset) then last = each end
    end
  end
  if last and last.value ~= 0 then return last.offset end
  return nil
end

-- What the CRC says: "right", "wrong", "none", or why it was not checked.
local function crc_status(buffer, length)
  if buffer(crc_at, 4):le_uint() == 0 and buffer(no_crc_at, 2):string() == "nc" then return "none" end
  if not perf.prefs.check_crc then return "not checked" end
  local at, text, checksum_at
  if length == buffer:reported_len() then  -- a datagram of its own
    at, text = 0, buffer:raw(0)
  else
    local frame = whole_frame()
    at, text, checksum_at = buffer:offset(), frame.range:raw(), checksum_place(buffer)
  end
  if #text < length then return "not checked" end
  local matches = crc_of(text:sub(1, length), at, checksum_at) == buffer(crc_at, 4):le_uint()
  return matches and "right" or "wrong"
end

local function dissect_probe(buffer, pinfo, tree)
  if not is_probe(buffer) then return 0 end
  local length = length_of(buffer)
  local sequence = buffer(16, 8):le_uint64()
  local kind = buffer(3, 1):uint()
  pinfo.cols.protocol = "shmifperf"
  pinfo.cols.info = string.format("flow %d, sequence %s, %s", buffer(8, 4):le_uint(), sequence,
    kinds[kind])
  local of = tree:add(perf, buffer(0))
  of:add(f.version, buffer(2, 1))
  of:add(f.kind, buffer(3, 1))
  of:add(f.length, buffer(4, 4), length)
  of:add_le(f.flow, buffer(8, 4))
  of:add_le(f.nonce, buffer(12, 4))
  of:add_le(f.sequence, buffer(16, 8))
  of:add_le(f.intended, buffer(24, 8))
  of:add_le(f.sent, buffer(32, 8))
  of:add(f.late, buffer(32, 8), buffer(32, 8):le_int64() - buffer(24, 8):le_int64())
    :set_generated()
  local crc = of:add_le(f.crc, buffer(crc_at, 4))
  local status = crc_status(buffer, length)
  of:add(f.status, buffer(crc_at, 6), status):set_generated()
  if status == "wrong" then crc:add_proto_expert_info(corrupt) end
  if length > buffer:reported_len() and length > buffer:offset() + buffer:reported_len() then
    of:add_proto_expert_info(cut)
  end
  if buffer:len() > probe_bytes then of:add(f.payload, buffer(probe_bytes)) end
  return buffer:len()
end

local ping = Proto("shmifping", "shmifctl ping")
local types = { [1] = "request", [2] = "reply" }
local p = {
  type = ProtoField.uint8("shmifping.type", "Type", base.DEC, types),
  id = ProtoField.uint32("shmifping.id", "Asker", base.HEX),
  sequence = ProtoField.uint32("shmifping.sequence", "Sequence number"),
  sent = ProtoField.uint64("shmifping.sent_ns", "When the request was sent [ns]"),
}
ping.fields = { p.type, p.id, p.sequence, p.sent }

local function dissect_ping(buffer, pinfo, tree)
  if buffer:len() < probe_bytes or buffer(0, 4):string() ~= "SHMP" then return 0 end
  pinfo.cols.protocol = "shmifping"
  pinfo.cols.info = string.format("%s, sequence %d", types[buffer(5, 1):uint()] or "unknown",
    buffer(12, 4):uint())
  local of = tree:add(ping, buffer(0, probe_bytes))
  of:add(p.type, buffer(5, 1))
  of:add(p.id, buffer(8, 4))
  of:add(p.sequence, buffer(12, 4))
  of:add(p.sent, buffer(16, 8))
  return probe_bytes
end

-- Both use the EtherType for local experiments. The UDP and TCP payloads of jobs begin with a
-- probe, whatever their ports.
perf.dissector = dissect_probe
ping.dissector = dissect_ping
local both = Proto("shmifframe", "shmif frame")
function both.dissector(buffer, pinfo, tree)
  local used = dissect_probe(buffer, pinfo, tree)
  if used == 0 then used = dissect_ping(buffer, pinfo, tree) end
  return used
end
DissectorTable.get("ethertype"):add(0x88b5, both)
local function is_taken(buffer, pinfo, tree)
  return dissect_probe(buffer, pinfo, tree) > 0
end
perf:register_heuristic("udp", is_taken)
perf:register_heuristic("tcp", is_taken)
