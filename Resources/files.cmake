# What of this folder the module reads when it is installed.
set(EXTENSION_RESOURCES
  Resources/OrganPresets/AbdomenCT.json
  Resources/OrganPresets/BrainMR.json
  Resources/OrganPresets/HeadAndNeckCT.json
  Resources/OrganPresets/Heart.json
  )
