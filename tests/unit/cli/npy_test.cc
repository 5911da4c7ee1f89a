#include "cli/npy.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

std::string Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string Written(const std::string& descr, const std::vector<int64_t>& shape, const std::string& data) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.npy";
  EXPECT_TRUE(WriteNpy(path, descr, shape, {reinterpret_cast<const std::byte*>(data.data()), data.size()}).ok());
  return Read(path);
}

// What numpy.save writes for numpy.array([[1, 2]], dtype="<f4").
TEST(Npy, IsByteForByteWhatNumpyWrites) {
  const float values[] = {1, 2};
  const std::string data(reinterpret_cast<const char*>(values), sizeof(values));
  std::string expected("\x93NUMPY\x01\x00\x76\x00", 10);
  expected += "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
  expected += std::string(128 - 1 - expected.size(), ' ') + "\n" + data;
  EXPECT_EQ(Written("<f4", {1, 2}, data), expected);
}

TEST(Npy, OneDimensionKeepsItsComma) {
  EXPECT_NE(Written("<i8", {3}, std::string(24, '\0')).find("'shape': (3,), }"), std::string::npos);
}

TEST(Npy, DataBeginsAtAMultipleOf64WhateverTheShape) {
  for (int64_t columns = 1; columns < 10'000'000'000; columns *= 10) {
    EXPECT_EQ(Written("<f2", {7, columns}, "").size() % 64, 0U) << columns;
  }
}

TEST(Npy, AFolderThatIsMissingIsNamed) {
  const absl::Status status = WriteNpy("/nowhere/a.npy", "<f4", {0}, {});
  EXPECT_EQ(std::string(status.message()), "/nowhere/a.npy: cannot be written: No such file or directory");
}

}  // namespace
}  // namespace vitower
