#include "model/safetensors.h"

#include <sys/stat.h>

#include <random>

#include "checkpoint_folder.h"
#include "gmock/gmock.h"

namespace vitower {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<std::byte> Bytes(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

std::string FileOf(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + std::string(data_bytes, 'x');
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const TemporaryFolder folder;
  const std::vector<std::byte> bytes = Bytes(24);
  const absl::Status written =
      WriteSafetensors(folder / "a.safetensors",
                       {{{"half \"quoted\"", "BF16", {3, 2}}, absl::MakeConstSpan(bytes).first(12)},
                        {{"grid", "I64", {3}}, bytes},
                        {{"scalar", "F32", {}}, absl::MakeConstSpan(bytes).first(4)},
                        {{"none", "F32", {0, 7}}, {}}},
                       {{"format", "pt"}});
  ASSERT_TRUE(written.ok()) << written;
  const auto file = SafetensorsFile::Open(folder / "a.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->tensors().size(), 4U);
  const SafetensorsTensor& half = file->tensors().at("half \"quoted\"");
  EXPECT_EQ(half.shape, (std::vector<int64_t>{3, 2}));
  EXPECT_THAT(half.bytes, ::testing::ElementsAreArray(bytes.begin(), bytes.begin() + 12));
  const auto* grid = file->tensors().at("grid").bytes.data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(grid) % 8, 0U) << "wider dtypes stand first, aligned";
}

TEST(Safetensors, FileAppearsCompleteOrNotAtAll) {
  const TemporaryFolder folder;
  const std::vector<SafetensorsEntry> entries = {{"a", "F32", {4}}};
  {
    auto writer = SafetensorsWriter::Create(folder / "a.safetensors", entries, {});
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Append(Bytes(10)).ok());
    EXPECT_THAT(std::string((*writer)->Finish().message()), HasSubstr("announced"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  auto writer = SafetensorsWriter::Create(folder / "a.safetensors", entries, {});
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE((*writer)->Append(Bytes(4)).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_TRUE(SafetensorsFile::Open(folder / "a.safetensors").ok());
}

TEST(Safetensors, BytesThatDoNotFitTheShapeAreNotWritten) {
  const TemporaryFolder folder;
  const absl::Status status = WriteSafetensors(folder / "a.safetensors", {{{"a", "F32", {3}}, Bytes(4)}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

struct HeaderCase {
  const char* header;
  const char* message;
};

TEST(Safetensors, HostileHeadersAreRefusedByTensor) {
  const HeaderCase cases[] = {
      {R"(["a"])", "not a JSON object"},
      {R"({"a":)", "not a JSON object"},
      {R"({"a":1})", "tensor \"a\": no dtype"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "tensor \"a\": no pair of data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "tensor \"a\": no shape"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})", "tensor \"a\": data_offsets [0, 9]"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "tensor \"a\": data_offsets [8, 0]"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "tensor \"a\": data_offsets span 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}})", "takes too many"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "the tensors end at byte 4"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "tensor \"a\": leaves a gap"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "tensor \"b\": overlaps"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "tensor \"a\": stands twice"}};
  const TemporaryFolder folder;
  for (const HeaderCase& one : cases) {
    WriteText(folder / "a.safetensors", FileOf(one.header, 8));
    const std::string message(SafetensorsFile::Open(folder / "a.safetensors").status().message());
    EXPECT_THAT(message, AllOf(HasSubstr("a.safetensors"), HasSubstr(one.message))) << one.header;
  }
}

TEST(Safetensors, FifoIsRefusedAtOnce) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "a.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(std::string(SafetensorsFile::Open(folder / "a.safetensors").status().message()),
              HasSubstr("a.safetensors: not a regular file"));
}

TEST(Safetensors, LongNamesAreCutInMessages) {
  const TemporaryFolder folder;
  WriteText(folder / "a.safetensors", FileOf("{\"" + std::string(1 << 20, 'n') + "\":1}", 8));
  const auto file = SafetensorsFile::Open(folder / "a.safetensors");
  EXPECT_THAT(std::string(file.status().message()), AllOf(HasSubstr("nnn... (1048576 bytes)"), HasSubstr("no dtype")));
  EXPECT_LT(file.status().message().size(), 1000U);
}

TEST(Safetensors, FilesWithoutAHeaderAreRefused) {
  const TemporaryFolder folder;
  for (const std::string& text : {std::string(), std::string("1234567"), std::string(8, '\xFF')}) {
    WriteText(folder / "a.safetensors", text);
    EXPECT_THAT(std::string(SafetensorsFile::Open(folder / "a.safetensors").status().message()),
                HasSubstr("a.safetensors"));
  }
}

TEST(Safetensors, BentHeadersNeverLeadOutsideTheFile) {
  const TemporaryFolder folder;
  const std::string good = FileOf(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
      16);
  std::mt19937 random(7);
  int opened = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bent = good;
    for (int j = 0; j < 2; ++j) bent[random() % 120] = static_cast<char>(random());
    WriteText(folder / "a.safetensors", bent);
    const auto file = SafetensorsFile::Open(folder / "a.safetensors");
    if (!file.ok()) continue;
    ++opened;
    size_t bytes = 0;
    for (const auto& [name, tensor] : file->tensors()) bytes += tensor.bytes.size();
    EXPECT_EQ(bytes, 16U);
  }
  EXPECT_LT(opened, 2000);
}

}  // namespace
}  // namespace vitower
