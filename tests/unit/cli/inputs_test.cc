#include "cli/inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const absl::StatusOr<InputList>& list) {
  std::vector<std::string> names;
  if (!list.ok()) return {std::string(list.status().message())};
  for (const InputFile& file : list->files) names.push_back(file.name.string());
  return names;
}

class InputsTest : public ::testing::Test {
 protected:
  absl::StatusOr<InputList> Collect(const std::vector<std::string>& names) const {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back((folder_.path() / name).string());
    return CollectInputs(paths);
  }

  TemporaryFolder folder_;
};

TEST_F(InputsTest, AFolderIsSearchedToItsBottomInOrder) {
  for (const char* name :
       {"p/b.jpg", "p/a.PNG", "p/sub/c.webp", "p/notes.txt", "p/sub/deep/d.JPEG", "p/sub/e.MP4", "p/f.txt"})
    folder_.Write(name);
  const auto list = Collect({"p"});
  EXPECT_THAT(Names(list), ElementsAre("a.PNG", "b.jpg", "sub/c.webp", "sub/deep/d.JPEG", "sub/e.MP4"));
  EXPECT_TRUE(list->many);
}

TEST_F(InputsTest, WhatAFolderHoldsBesidesIsCounted) {
  for (const char* name : {"p/a.jpg", "p/b.heic", "p/c.heic", "p/sub/d.tif", "p/README"}) folder_.Write(name);
  EXPECT_EQ(DescribePassedOver(*Collect({"p"})), "4 files passed over: 1 without extension, 2 .heic, 1 .tif");
  EXPECT_EQ(DescribePassedOver(*Collect({"p/a.jpg"})), "");
}

TEST_F(InputsTest, EqualNamesInDifferentFoldersStayApart) {
  for (const char* name : {"p/x/a.jpg", "p/y/a.jpg"}) folder_.Write(name);
  EXPECT_THAT(Names(Collect({"p/x", "p/y"})), ElementsAre("x/a.jpg", "y/a.jpg"));
  EXPECT_THAT(Names(Collect({"p/x/a.jpg", "p/y/a.jpg"})), ElementsAre("x/a.jpg", "y/a.jpg"));
}

TEST_F(InputsTest, AFileNamedTwiceIsTakenOnce) {
  folder_.Write("p/a.jpg");
  EXPECT_THAT(Names(Collect({"p/a.jpg", "p/", "p/./a.jpg", "p"})), ElementsAre("a.jpg"));
}

TEST_F(InputsTest, ASingleFileIsTakenWhateverItsExtension) {
  folder_.Write("p/photo.dat");
  const auto list = Collect({"p/photo.dat"});
  EXPECT_THAT(Names(list), ElementsAre("photo.dat"));
  EXPECT_FALSE(list->many);
}

TEST_F(InputsTest, AMissingFileIsKeptToBeReportedWhenItIsRead) {
  const auto list = Collect({"missing.jpg"});
  ASSERT_THAT(Names(list), ElementsAre("missing.jpg"));
  EXPECT_THAT(std::string(ReadInput(list->files[0]).status().message()), HasSubstr("No such file"));
}

TEST_F(InputsTest, AFolderWithoutImagesIsRefusedByName) {
  folder_.Write("p/notes.txt");
  EXPECT_THAT(std::string(Collect({"p"}).status().message()), HasSubstr("p: no image or clip in this folder"));
}

TEST_F(InputsTest, StandardInputStandsAlone) {
  EXPECT_THAT(Names(CollectInputs({"-"})), ElementsAre("stdin"));
  EXPECT_FALSE(CollectInputs({"-", "a.jpg"}).ok());
  EXPECT_FALSE(CollectInputs({}).ok());
}

TEST_F(InputsTest, BytesAreReadUnchanged) {
  const std::string bytes("\x00\r\n\xff", 4);
  EXPECT_EQ(*ReadInput({folder_.Write("a.jpg", bytes), "a.jpg"}), bytes);
}

}  // namespace
}  // namespace vitower
