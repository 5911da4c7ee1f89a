#include "server/stream_request.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>

#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

struct ByteRange {
  uint64_t begin = 0;
  uint64_t length = 0;
};

constexpr uint32_t WireTag(int field, WireFormatLite::WireType type) { return WireFormatLite::MakeTag(field, type); }

bool ReadRange(CodedInputStream& in, ByteRange& range) {
  uint32_t length = 0;
  if (!in.ReadVarint32(&length)) return false;
  range = {static_cast<uint64_t>(in.CurrentPosition()), length};
  return in.Skip(static_cast<int>(length));
}

bool ReadPart(CodedInputStream& in, StreamRequest& request, ByteRange& payload) {
  while (const uint32_t tag = in.ReadTag()) {
    bool read = false;
    switch (tag) {
      case WireTag(v1::ItemPart::kOffsetFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        read = in.ReadVarint64(&request.part_offset);
        break;
      case WireTag(v1::ItemPart::kTotalFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        read = in.ReadVarint64(&request.part_total);
        break;
      case WireTag(v1::ItemPart::kDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED):
        read = ReadRange(in, payload);
        break;
      default:
        read = WireFormatLite::SkipField(&in, tag);
    }
    if (!read) return false;
  }
  return in.ConsumedEntireMessage();
}

bool ReadPartBody(CodedInputStream& in, StreamRequest& request, ByteRange& payload) {
  uint32_t length = 0;
  if (!in.ReadVarint32(&length)) return false;
  const CodedInputStream::Limit outer = in.PushLimit(static_cast<int>(length));
  payload = {};
  request.part_offset = 0;
  request.part_total = 0;
  const bool read = ReadPart(in, request, payload) && in.BytesUntilLimit() == 0;
  in.PopLimit(outer);
  return read;
}

bool ReadEnvelope(CodedInputStream& in, StreamRequest& request, ByteRange& payload) {
  while (const uint32_t tag = in.ReadTag()) {
    bool read = false;
    switch (tag) {
      case WireTag(v1::EmbedStreamRequest::kKeyFieldNumber, WireFormatLite::WIRETYPE_VARINT):
        read = in.ReadVarint64(&request.key);
        break;
      case WireTag(v1::EmbedStreamRequest::kItemFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED):
        request.body = StreamRequest::Body::kItem;
        read = ReadRange(in, payload);
        break;
      case WireTag(v1::EmbedStreamRequest::kPartFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED):
        request.body = StreamRequest::Body::kPart;
        read = ReadPartBody(in, request, payload);
        break;
      default:
        read = WireFormatLite::SkipField(&in, tag);
    }
    if (!read) return false;
  }
  return in.ConsumedEntireMessage();
}

// Of the bytes [begin, end). A few of them are copied: a slice of theirs would keep the whole of gRPC's buffer alive.
grpc::Slice SubSlice(const grpc::Slice& slice, size_t begin, size_t end) {
  constexpr size_t kWorthKeeping = 4096;
  if (end - begin >= kWorthKeeping) return slice.sub(begin, end);
  return grpc::Slice(slice.begin() + begin, end - begin);
}

std::vector<grpc::Slice> Cut(const std::vector<grpc::Slice>& slices, const ByteRange& range) {
  std::vector<grpc::Slice> cut;
  uint64_t at = 0;
  for (const grpc::Slice& slice : slices) {
    const uint64_t begin = std::max(at, range.begin);
    const uint64_t end = std::min(at + slice.size(), range.begin + range.length);
    if (begin < end) cut.push_back(SubSlice(slice, begin - at, end - at));
    at += slice.size();
  }
  return cut;
}

}  // namespace

std::optional<StreamRequest> ParseStreamRequest(grpc::ByteBuffer& message) {
  StreamRequest request;
  ByteRange payload;
  {
    grpc::ProtoBufferReader reader(&message);
    CodedInputStream in(&reader);
    if (!ReadEnvelope(in, request, payload)) return std::nullopt;
  }
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return std::nullopt;
  request.payload = Cut(slices, payload);
  request.payload_bytes = payload.length;
  return request;
}

}  // namespace vitower
