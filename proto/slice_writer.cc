#include "proto/slice_writer.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

namespace vitower {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

// Below this a copy is cheaper than keeping count of who refers to the bytes.
constexpr size_t kCopiedBytes = 2048;

uint32_t LengthTag(int field) { return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED); }
uint32_t NumberTag(int field) { return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT); }
size_t VarintSize(uint64_t value) { return CodedOutputStream::VarintSize64(value); }

}  // namespace

size_t FieldSize(int field, size_t length) { return VarintSize(LengthTag(field)) + VarintSize(length) + length; }

void SliceWriter::NumberField(int field, uint64_t value) {
  Varint(NumberTag(field));
  Varint(value);
}

void SliceWriter::FieldHead(int field, size_t length) {
  Varint(LengthTag(field));
  Varint(length);
}

void SliceWriter::Refer(std::string_view bytes) {
  if (bytes.size() < kCopiedBytes) return Copy(bytes);
  Flush();
  const auto drop = [](void* holder) { delete static_cast<std::shared_ptr<const void>*>(holder); };
  slices_.emplace_back(const_cast<char*>(bytes.data()), bytes.size(), drop, new std::shared_ptr<const void>(holder_));
}

std::vector<grpc::Slice> SliceWriter::Finish() {
  Flush();
  return std::move(slices_);
}

void SliceWriter::Varint(uint64_t value) {
  uint8_t bytes[10];
  const uint8_t* end = CodedOutputStream::WriteVarint64ToArray(value, bytes);
  text_.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes));
}

void SliceWriter::Flush() {
  if (!text_.empty()) slices_.emplace_back(text_);
  text_.clear();
}

}  // namespace vitower
